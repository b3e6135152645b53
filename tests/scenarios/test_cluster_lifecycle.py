"""Lifecycles of clusters, from the request to the end, with faults in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from dayfly.controllers.cluster.finalize import Finalizer
from dayfly.controllers.cluster.outcome import RequeueAfter
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.naming import container_name, saved_volume
from dayfly.errors import EngineRefused, EngineUnavailable, NotRemoved, PortsExhausted
from dayfly.store import Store
from tests.support.specs import make_spec
from tests.support.world import GIVE_UP_SECONDS, World


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def test_from_the_request_to_ready_to_nothing(world: World) -> None:
    async with world.working():
        cluster = await world.create(make_spec(workers=1, kubernetes=True))
        ready = await world.until(cluster, Phase.READY)
        assert set(ready.endpoints) == {5000, 6443, 2201, 2202}
        assert ready.ready_at is not None
        steps = {(s.name, s.node): s.state for s in await world.store.clusters.steps(cluster.id)}
        assert set(steps.values()) == {"done"}
        assert set(steps) == {
            *[("sandbox", None), ("registry", None), ("boot", "node01"), ("boot", "node02")],
            *[("control_plane", "node01"), ("join", "node02"), ("ready", None), ("smoke_test", None)],
        }
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
        assert not world.engine.containers
        assert await world.store.clusters.secrets(cluster.id) is None


async def test_the_api_servers_certificate_is_valid_for_the_advertised_host(world: World) -> None:
    world.advertised = "lab.example"
    async with world.working():
        cluster = await world.until(await world.create(make_spec(kubernetes=True)), Phase.READY)
    assert {endpoint.host for endpoint in cluster.endpoints.values()} == {"lab.example"}
    secrets = await world.store.clusters.secrets(cluster.id)
    assert secrets is not None
    served = x509.load_pem_x509_certificate(secrets.pki["pki/apiserver.crt"].encode())
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "lab.example" in names.get_values_for_type(x509.DNSName)


async def test_many_clusters_side_by_side(world: World) -> None:
    async with world.working():
        made = [await world.create(make_spec(workers=1)) for _ in range(20)]
        for cluster in made:
            await world.until(cluster, Phase.READY)
        assert len(world.engine.containers) == 20 * 4
        assert len(world.engine.created) == len(set(world.engine.created))


@pytest.mark.parametrize("method", ["ensure", "endpoints", "wait_exit", "list_containers"])
async def test_deletion_in_the_middle_of_anything_leaves_nothing(world: World, method: str) -> None:
    gate = world.engine.block(method)
    async with world.working():
        cluster = await world.create(make_spec(workers=1))
        async with asyncio.timeout(10):
            await gate.reached.wait()
        await world.store.lifecycle.delete(cluster.id)
        gate.open()
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.containers


async def test_deletion_before_anybody_began(world: World) -> None:
    cluster = await world.create(make_spec())
    await world.store.lifecycle.delete(cluster.id)
    async with world.working():
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.created


async def test_a_vm_that_exits_for_ever_fails_the_cluster_with_its_evidence(world: World) -> None:
    world.engine.exits_at_start("node01", 1, "qemu: cannot allocate memory")
    world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec(workers=1))
        failed = await world.until(cluster, Phase.FAILED)
        assert failed.fault is not None
        assert (failed.fault.code, failed.fault.step, failed.fault.node) == ("vm_exited", "boot", "node01")
        assert "cannot allocate memory" in failed.fault.message
        assert "cannot allocate memory" in (await world.store.clusters.evidence(cluster.id))["node01/log"]
        await until_nothing_runs(world)
        events = await world.store.clusters.events(cluster.id)
        assert sum(e.type == "step.retry" and e.node == "node01" for e in events) == 2


async def test_a_vm_that_exits_once_is_given_another_chance(world: World) -> None:
    silence = world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec())
        async with asyncio.timeout(10):
            await silence.reached.wait()
        world.engine.exit(f"dayfly-{cluster.id}-node01")
        await world.until_event(cluster, lambda event: event.type == "step.retry")
        silence.open()
        assert (await world.until(cluster, Phase.READY, Phase.FAILED)).phase is Phase.READY


async def test_a_guest_that_never_answers(world: World) -> None:
    world.ssh.never_answers()
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "dhcp_timeout"


async def test_a_guest_that_is_somebody_else_is_not_asked_twice(world: World) -> None:
    world.ssh.refuses()
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "ssh_refused"
    assert world.ssh.calls["wait"] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(PortsExhausted("none left"), "ports_exhausted"), (EngineRefused("no"), "engine_refused")],
)
async def test_what_the_engine_refuses_has_a_name(world: World, error: Exception, code: str) -> None:
    world.engine.fail_always(error, "ensure")
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.step) == (code, "sandbox")


async def test_a_node_that_is_not_ready_says_why(world: World) -> None:
    world.kube.not_ready("node02", "NetworkPluginNotReady")
    async with world.working():
        failed = await world.until(await world.create(make_spec(workers=1, kubernetes=True)), Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "node_not_ready"
    assert "kubelet" in " ".join(await world.store.clusters.evidence(failed.id))


async def test_the_engine_goes_away_and_comes_back(world: World) -> None:
    world.engine.fail_next("ensure", EngineUnavailable("nobody there"), times=3)
    async with world.working():
        await world.until(await world.create(make_spec()), Phase.READY)


async def test_a_failed_cluster_is_cleared_away_when_the_engine_is_back(world: World) -> None:
    cluster = await world.create(make_spec())
    world.ssh.never_answers()
    world.engine.fail_always(EngineRefused("not now"), "remove", "logs", "read_file")
    async with world.working():
        await world.until(cluster, Phase.FAILED)
        assert world.engine.containers
        world.engine.heal()
        await world.until_so(cluster, lambda now: not now.reserved)
        assert not world.engine.containers


async def test_a_deletion_waits_for_the_engine_and_says_so(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
        world.engine.fail_always(EngineUnavailable("nobody there"), "remove")
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETING)
        await world.until_event(cluster, lambda event: event.code == "engine_unavailable")
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.DELETING


@pytest.mark.parametrize("kind", ["container", "volume"])
async def test_what_survives_its_removal_keeps_the_deletion_open(world: World, kind: str) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
        survivor = saved_volume(cluster.id) if kind == "volume" else container_name(cluster.id, "net")
        world.engine.survivors.add(survivor)
        await world.store.lifecycle.delete(cluster.id)
        await world.until_event(cluster, lambda event: event.code == "not_removed")
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.DELETING
        assert survivor in (world.engine.volumes if kind == "volume" else world.engine.containers)
        world.engine.survivors.clear()
        await world.store.maintenance.requeue([cluster.id])
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.containers
    assert not world.engine.volumes


async def test_a_removal_that_goes_on_failing_is_tried_less_and_less_often(world: World) -> None:
    world.engine.fail_always(NotRemoved("still there"), "remove")
    await world.store.lifecycle.delete((await world.create(make_spec())).id)
    (claim,) = await world.store.leases.claim("tester", lease_seconds=60, limit=1)
    finalizer = Finalizer(world.context())
    assert await finalizer.delete(claim) == RequeueAfter(5.0)

    async def pause_after(seconds: float) -> float | None:
        began = claim.at - timedelta(seconds=seconds)
        waiting = replace(claim.cluster, phase=Phase.DELETING, updated_at=began)
        return (await finalizer.delete(replace(claim, cluster=waiting))).seconds

    assert [await pause_after(seconds) for seconds in (0, 5, 40, 3600)] == [5.0, 5.0, 40.0, 300.0]


async def test_a_worker_that_stops_gives_its_cluster_to_the_next(world: World) -> None:
    gate = world.engine.block("wait_exit")
    cluster = await world.create(make_spec(workers=1))
    async with world.working("first"), asyncio.timeout(10):
        await gate.reached.wait()
    created = list(world.engine.created)
    gate.open()
    async with world.working("second"):
        await world.until(cluster, Phase.READY)
    assert world.engine.created == created, "what was there was used, not made again"


@pytest.mark.parametrize("kill_after", range(1, 40, 3))
async def test_cut_off_anywhere_the_next_worker_ends_it_and_nothing_is_made_twice(
    store: Store, kill_after: int
) -> None:
    """The worker is cut off at its n-th call to the outside world, again and again, until the cluster is ready."""
    world = World(store)
    cluster = await world.create(make_spec(workers=1, kubernetes=True))
    for _ in range(30):
        async with world.working() as worker, asyncio.timeout(GIVE_UP_SECONDS):
            await world.until_called(worker, kill_after, lambda: world.is_in(cluster, Phase.READY))
        if await world.is_in(cluster, Phase.READY):
            break
        kill_after += 5
    assert (await store.clusters.get(cluster.id)).phase is Phase.READY
    assert len(world.engine.containers) == 4
    assert len(world.engine.created) == 4


async def until_nothing_runs(world: World) -> None:
    async with asyncio.timeout(10):
        while world.engine.containers:  # noqa: ASYNC110 - the fake has no event for being empty
            await asyncio.sleep(0)


async def test_an_engine_that_is_away_when_a_cluster_begins_is_waited_for_and_told(world: World) -> None:
    world.engine.engine_down()
    async with world.working():
        cluster = await world.create(make_spec())
        told = await world.until_event(cluster, lambda event: event.type == "step.waiting")
        assert told.code == "engine_unavailable"
        world.engine.engine_up()
        await world.until(cluster, Phase.READY)
