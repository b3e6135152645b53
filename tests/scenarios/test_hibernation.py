"""Hibernation: by request, by idleness, at expiry under a hold. A resumed cluster continues, or states why not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dayfly.domain.cluster.boot_source import HIBERNATION, BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import CommandFailed, DatabaseUnavailable, EngineUnavailable
from dayfly.store import Change, Claim, Store
from tests.support.specs import make_spec
from tests.support.world import GIVE_UP_SECONDS, World

SPEC = make_spec(workers=1)
BOOTED = make_spec(workers=1, kubernetes=True, readiness="booted")
NODES = ("node01", "node02")


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def ready(world: World, spec: ClusterSpec = SPEC, hold: Hold | None = None) -> Cluster:
    return await world.until(await world.create(spec, hold=hold), Phase.READY)


async def hibernated(world: World) -> Cluster:
    """One that nothing runs of any more."""
    cluster = await ready(world)
    await world.store.lifecycle.hibernate(cluster.id)
    return await at_rest(world, cluster)


async def at_rest(world: World, cluster: Cluster) -> Cluster:
    await world.until(cluster, Phase.HIBERNATED)
    return await world.until_so(cluster, lambda now: not now.paused)


def marks(world: World, cluster: Cluster) -> list[tuple[str, str]]:
    return [(world.node(cluster, name).memory, world.node(cluster, name).disk) for name in NODES]


def goes_on(world: World, cluster: Cluster) -> bool:
    found = [world.node(cluster, name) for name in NODES]
    return all(one.vm_status == "running" and one.clock is world.clock for one in found)


def saved_files(world: World, cluster: Cluster) -> set[str]:
    return set(world.engine.volumes[f"dayfly-{cluster.id}-saved"].files) - {HIBERNATION.fence(1).path}


def states(world: World) -> set[str]:
    return {container.state for container in world.engine.containers.values()}


async def codes_of(world: World, cluster: Cluster, type_: str) -> list[str | None]:
    return [event.code for event in await world.store.clusters.events(cluster.id) if event.type == type_]


async def test_a_cluster_hibernates_and_wakes_up_where_it_was(world: World) -> None:
    async with world.working():
        before = await ready(world, make_spec(workers=1, kubernetes=True))
        was, made = marks(world, before), list(world.engine.created)
        await world.store.lifecycle.hibernate(before.id)
        await at_rest(world, before)
        assert states(world) == {"exited"}
        assert saved_files(world, before) == {f"/saved/hibernation/{name}" for name in NODES}
        await world.store.lifecycle.resume(before.id)
        after = await world.until(before, Phase.READY)
    assert marks(world, after) == was
    assert goes_on(world, after)
    assert saved_files(world, after) == set(), "once it has gone on, this memory is good for nothing"
    assert world.engine.created == made
    assert (after.endpoints, after.ready_at, after.restarts) == (before.endpoints, before.ready_at, 0)
    assert await codes_of(world, after, "cluster.hibernated") == [None]
    assert "cluster.fallback" not in [event.type for event in await world.store.clusters.events(after.id)]


async def test_it_gives_its_room_back_and_waits_for_it_like_everybody(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        queue = await world.store.admission.queue()
        (held,) = queue.held.values()
        assert (held.vcpus, held.memory_mib) == (0, 0)
        assert held.disk_gib > 0
        world.offered = held
        await world.store.lifecycle.resume(cluster.id)
        await world.until(cluster, Phase.PENDING)
        await asyncio.sleep(0.05)
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.PENDING
        assert states(world) == {"exited"}, "and nobody takes it for an orphan meanwhile"


async def test_one_that_hibernates_is_deleted_like_any_other(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.containers
    assert not world.engine.volumes


async def test_a_restart_of_the_host_changes_nothing(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        was = marks(world, cluster)
        world.engine.restart_engine()
        await world.collector().look()
    async with world.working("next"):
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.HIBERNATED
        await world.store.lifecycle.resume(cluster.id)
        await world.until(cluster, Phase.READY)
    assert marks(world, cluster) == was


@pytest.mark.parametrize("method", ["pause", "discard", "save"])
async def test_one_that_cannot_be_saved_goes_on_running(world: World, method: str) -> None:
    async with world.working():
        cluster = await ready(world)
        was = marks(world, cluster)
        world.machines.fail_next(method, CommandFailed("no space"))
        await world.store.lifecycle.hibernate(cluster.id)
        await world.until_event(cluster, lambda event: event.code == "command_failed")
        after = await world.until_so(cluster, lambda now: not now.paused and now.desired is Desired.PRESENT)
    assert after.phase is Phase.READY
    assert await codes_of(world, cluster, "cluster.hibernated") == ["command_failed"]
    assert marks(world, cluster) == was
    assert goes_on(world, cluster)


async def test_an_engine_that_goes_away_is_waited_for(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.machines.fail_next("save", EngineUnavailable("nobody there"))
        world.engine.fail_next("stop", EngineUnavailable("nobody there"))
        await world.store.lifecycle.hibernate(cluster.id)
        await at_rest(world, cluster)
        assert states(world) == {"exited"}
        world.machines.fail_next("load", EngineUnavailable("nobody there"))
        await world.store.lifecycle.resume(cluster.id)
        await world.until(cluster, Phase.READY)
        assert goes_on(world, cluster)
    assert "cluster.fallback" not in [event.type for event in await world.store.clusters.events(cluster.id)]


async def test_a_request_withdrawn_midway_keeps_it_running(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        gate = world.machines.block("save")
        await world.store.lifecycle.hibernate(cluster.id)
        await gate.reached.wait()
        await world.store.lifecycle.resume(cluster.id)
        gate.open()
        after = await world.until_so(cluster, lambda now: now.phase is Phase.READY and not now.paused)
        assert goes_on(world, after)


async def test_a_host_that_dies_after_it_went_on_boots_it_from_its_disks(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        disks = [disk for _, disk in marks(world, cluster)]
        gate = world.machines.block("resume")
        await world.store.lifecycle.resume(cluster.id)
        await gate.reached.wait()
        world.engine.restart_engine()
        gate.open()
        await world.until(cluster, Phase.READY)
    assert [disk for _, disk in marks(world, cluster)] == disks
    assert await codes_of(world, cluster, "cluster.fallback") == ["saved_state_missing"]
    assert all(world.node(cluster, name).vm_status == "running" for name in NODES)


async def test_a_host_that_dies_before_that_costs_nothing(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        was = marks(world, cluster)
        gate = world.machines.block("discard")
        await world.store.lifecycle.resume(cluster.id)
        await gate.reached.wait()
        world.engine.restart_engine()
        gate.open()
        await world.until(cluster, Phase.READY)
    assert marks(world, cluster) == was
    assert "cluster.fallback" not in [event.type for event in await world.store.clusters.events(cluster.id)]


async def test_memory_that_cannot_be_loaded_is_told_and_it_boots(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        world.machines.fail_always(CommandFailed("bad section"), "load")
        await world.store.lifecycle.resume(cluster.id)
        await world.until(cluster, Phase.READY)
    assert await codes_of(world, cluster, "cluster.fallback") == ["command_failed"]
    assert all(world.node(cluster, name).vm_status == "running" for name in NODES)


async def test_a_container_removed_meanwhile_is_noticed_when_it_wakes_up(world: World) -> None:
    async with world.working():
        cluster = await hibernated(world)
        world.engine.remove_by_hand(f"dayfly-{cluster.id}-node02")
        await world.store.lifecycle.resume(cluster.id)
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "container_removed"


def an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


async def test_a_hold_may_keep_what_expired_hibernated(world: World) -> None:
    spec = SPEC.model_copy(update={"ttl_seconds": 1})
    async with world.working():
        cluster = await world.create(spec, hold=Hold(an_hour(), "to be looked at", "hibernated"))
        kept = await at_rest(world, cluster)
    assert (kept.phase, kept.desired) == (Phase.HIBERNATED, Desired.HIBERNATED)
    assert states(world) == {"exited"}


async def test_what_a_hold_keeps_hibernated_runs_once_somebody_resumes_it(world: World) -> None:
    spec = SPEC.model_copy(update={"ttl_seconds": 1})
    async with world.working():
        cluster = await world.create(spec, hold=Hold(an_hour(), "to be looked at", "hibernated"))
        await at_rest(world, cluster)
        was = marks(world, cluster)
        await world.store.lifecycle.resume(cluster.id)
        await world.until(cluster, Phase.READY)
        await world.store.maintenance.requeue([cluster.id])
        await asyncio.sleep(0.3)
        after = await world.store.clusters.get(cluster.id)
        assert (after.phase, after.desired) == (Phase.READY, Desired.PRESENT)
        assert goes_on(world, after)
        assert marks(world, after) == was
        (told,) = [e.message for e in await world.store.clusters.events(cluster.id) if e.type == "cluster.changed"]
        assert told.startswith("hold until ")
        assert told.endswith("VMs running: to be looked at")
        await world.store.updates.change(cluster.id, Change(hold=None))
        await world.until(cluster, Phase.DELETED)


async def test_what_cannot_hibernate_at_its_end_is_kept_stopped(world: World) -> None:
    spec = SPEC.model_copy(update={"ttl_seconds": 1})
    world.machines.fail_always(CommandFailed("no space"), "save")
    async with world.working():
        cluster = await world.create(spec, hold=Hold(an_hour(), "to be looked at", "hibernated"))
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "expired"
    assert {world.node(failed, name).state for name in NODES} == {"exited"}


class Traffic:
    """The packet count of the net container."""

    def __init__(self, world: World) -> None:
        self.packets = 12
        world.engine.on_exec(lambda container, argv, stdin: self._list())

    def _list(self) -> ExecResult:
        rule = f"  {self.packets}  4711   6    --  !br0   *  0.0.0.0/0  0.0.0.0/0  ctdir ORIGINAL\n"
        return ExecResult(0, f"Chain PREROUTING (policy ACCEPT 0 packets, 0 bytes)\n pkts\n{rule}".encode(), b"")


async def test_a_cluster_that_nobody_uses_hibernates_by_itself(world: World) -> None:
    Traffic(world)
    async with world.working():
        cluster = await ready(world, SPEC.model_copy(update={"idle_seconds": 1}))
        await at_rest(world, cluster)
    assert await codes_of(world, cluster, "cluster.idle") == [None]


async def test_one_that_is_to_from_now_on_does(world: World) -> None:
    Traffic(world)
    async with world.working():
        cluster = await ready(world)
        kept = len(world.ssh.forgotten)
        changed = await world.store.updates.change(cluster.id, Change(idle_seconds=1))
        assert changed.active_at is not None
        await at_rest(world, cluster)
    assert await codes_of(world, cluster, "cluster.idle") == [None]
    assert len(world.ssh.forgotten) > kept, "what is ours and kept alive counts as nobody"


async def test_one_that_is_to_no_more_does_not(world: World) -> None:
    Traffic(world)
    async with world.working():
        cluster = await ready(world, SPEC.model_copy(update={"idle_seconds": 2}))
        await world.store.updates.change(cluster.id, Change(idle_seconds=None))
        await asyncio.sleep(2.2)
        await world.store.maintenance.requeue([cluster.id])
        await asyncio.sleep(0.1)
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY


async def test_one_that_is_used_does_not(world: World) -> None:
    traffic = Traffic(world)
    async with world.working():
        cluster = await ready(world, SPEC.model_copy(update={"idle_seconds": 1}))
        for _ in range(8):
            traffic.packets += 1
            await asyncio.sleep(0.25)
            await world.store.maintenance.requeue([cluster.id])
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY


async def test_nobody_is_taken_for_idle_or_busy_while_traffic_cannot_be_counted(world: World) -> None:
    world.engine.on_exec(lambda container, argv, stdin: ExecResult(4, b"", b"iptables: Permission denied"))
    async with world.working():
        cluster = await ready(world, SPEC.model_copy(update={"idle_seconds": 1}))
        began = cluster.active_at
        await asyncio.sleep(1.2)
        now = await world.store.clusters.get(cluster.id)
        assert (now.phase, now.active_at) == (Phase.READY, began)
        Traffic(world)
        await at_rest(world, cluster)


async def test_an_image_that_counts_nothing_never_lets_a_cluster_hibernate_by_itself(world: World) -> None:
    async with world.working():
        cluster = await ready(world, SPEC.model_copy(update={"idle_seconds": 1}))
        await asyncio.sleep(1.2)
        await world.store.maintenance.requeue([cluster.id])
        await asyncio.sleep(0.1)
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY


@pytest.mark.parametrize("kill_after", [1, 2, 3, 5, 8, 13])
async def test_cut_off_anywhere_it_hibernates_and_wakes_up_where_it_was(store: Store, kill_after: int) -> None:
    world = World(store)
    async with world.working():
        cluster = await ready(world)
    was = marks(world, cluster)
    await store.lifecycle.hibernate(cluster.id)

    async def rests() -> bool:
        now = await store.clusters.get(cluster.id)
        return now.phase is Phase.HIBERNATED and not now.paused

    await world.work_in_pieces(kill_after, rests)
    assert states(world) == {"exited"}
    await store.lifecycle.resume(cluster.id)
    await world.work_in_pieces(kill_after, lambda: world.is_in(cluster, Phase.READY))
    assert marks(world, cluster) == was
    assert goes_on(world, cluster)
    assert "cluster.fallback" not in [event.type for event in await store.clusters.events(cluster.id)]


async def test_a_database_that_fails_just_then_withdraws_no_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.working():
        cluster = await ready(world)
        works, failed = world.store.provisioning.set_paused, 0

        async def set_paused(claim: Claim, paused: bool) -> Cluster:
            nonlocal failed
            if paused and not failed:
                failed += 1
                raise DatabaseUnavailable("it was busy")
            return await works(claim, paused=paused)

        monkeypatch.setattr(world.store.provisioning, "set_paused", set_paused)
        await world.store.lifecycle.hibernate(cluster.id)
        await at_rest(world, cluster)
    assert failed == 1
    assert await codes_of(world, cluster, "cluster.hibernated") == [None]


@pytest.mark.parametrize("checkpoint", [False, True], ids=["resume", "reset"])
@pytest.mark.parametrize("spec", [SPEC, BOOTED], ids=["bare", "booted"])
async def test_restored_nodes_that_do_not_answer_over_ssh_are_not_ready(
    world: World, spec: ClusterSpec, checkpoint: bool
) -> None:
    """Their agents answer, and their saved memory says that all is well."""
    async with world.working():
        cluster = await ready(world, spec)
        if checkpoint:
            await world.store.checkpoints.create(cluster.id, "one")
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while await codes_of(world, cluster, "cluster.resumed") != [None]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            world.ssh.never_answers()
            await world.store.lifecycle.reset(cluster.id, BootSource("checkpoint", "one"))
        else:
            await world.store.lifecycle.hibernate(cluster.id)
            await at_rest(world, cluster)
            world.ssh.never_answers()
            await world.store.lifecycle.resume(cluster.id)
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.step) == ("ssh_timeout", "ready")
