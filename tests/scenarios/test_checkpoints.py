"""Checkpoints: saved states for resets, made while the cluster is paused for a moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dayfly.controllers.cluster.snapshots import Snapshots
from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import IMAGE, BootSource
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import CommandFailed, EngineUnavailable, LeaseLost, NotFound
from dayfly.store import Store
from dayfly.store.db.tables import clusters
from dayfly.testing.fakes import FakeMachines
from dayfly.vocabulary import TemplatePhase
from tests.store.helpers import set_back
from tests.support.specs import make_spec
from tests.support.world import GIVE_UP_SECONDS, World

SPEC = make_spec(workers=1)
NODES = ("node01", "node02")
BEFORE = BootSource("checkpoint", "before")


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def ready(world: World) -> Cluster:
    return await world.until(await world.create(SPEC), Phase.READY)


async def settled(world: World, cluster: Cluster) -> list[tuple[str, CheckpointPhase]]:
    """The cluster's checkpoints, once none is being created or deleted and no machine is paused."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        with world.store.watch(cluster.id) as watch:
            while await world.store.checkpoints.due(cluster.id) or (await world.store.clusters.get(cluster.id)).paused:
                await watch.wait(1)
    return [(one.name, one.phase) for one in await world.store.checkpoints.list(cluster.id)]


async def checkpoint(world: World, cluster: Cluster, name: str = "before") -> list[tuple[str, CheckpointPhase]]:
    await world.store.checkpoints.create(cluster.id, name)
    return await settled(world, cluster)


async def reset(world: World, cluster: Cluster, to: BootSource) -> Cluster:
    generation = (await world.store.lifecycle.reset(cluster.id, to)).generation
    return await world.until_so(cluster, lambda now: now.phase is Phase.READY and now.generation > generation)


def goes_on(world: World, cluster: Cluster) -> bool:
    found = [world.node(cluster, name) for name in NODES]
    return all(one.vm_status == "running" and one.clock is world.clock for one in found)


async def test_a_checkpoint_is_made_and_the_cluster_goes_on(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        memories = [world.node(cluster, name).memory for name in NODES]
        assert await checkpoint(world, cluster) == [("before", CheckpointPhase.READY)]
        (made,) = await world.store.checkpoints.list(cluster.id)
    assert made.size_bytes == 2 << 20
    assert goes_on(world, cluster)
    assert [world.node(cluster, name).memory for name in NODES] == memories
    assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY
    volume = world.engine.volumes[f"dayfly-{cluster.id}-saved"]
    assert {f"/saved/checkpoints/before/{name}" for name in NODES} <= set(volume.files)


async def test_a_growing_checkpoint_and_template_show_their_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dayfly.steps.vm.snapshot_files._REPORT_SECONDS", 0.01)
    async with world.working(), asyncio.timeout(GIVE_UP_SECONDS):
        cluster, gate = await ready(world), world.machines.block("save")
        await world.store.checkpoints.create(cluster.id, "before")
        with world.store.watch(cluster.id) as watch:
            while not (found := (await world.store.checkpoints.due(cluster.id))[0]).size_bytes:
                await watch.wait(1)
        assert (found.phase, found.size_bytes) == (CheckpointPhase.CREATING, 2 << 18)
        template, _ = await world.store.templates.create(SPEC, "default", world.key(SPEC))
        while not (growing := await world.store.templates.get(template.id)).size_bytes:  # noqa: ASYNC110 - no watch
            await asyncio.sleep(0.005)
        assert (growing.phase, growing.size_bytes) == (TemplatePhase.BUILDING, 2 << 18)
        gate.open()
        assert await settled(world, cluster) == [("before", CheckpointPhase.READY)]


async def test_a_cluster_goes_back_to_its_checkpoint_whatever_came_since(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        wanted = [(world.node(cluster, name).memory, world.node(cluster, name).disk) for name in NODES]
        await checkpoint(world, cluster)
        await reset(world, cluster, IMAGE)
        assert [(world.node(cluster, name).memory, world.node(cluster, name).disk) for name in NODES] != wanted
        await checkpoint(world, cluster, "later")
        after = await reset(world, cluster, BEFORE)
        assert [(world.node(cluster, name).memory, world.node(cluster, name).disk) for name in NODES] == wanted
        names = [one.name for one in await world.store.checkpoints.list(cluster.id)]
    assert names == ["before", "later"]
    assert goes_on(world, cluster)
    assert (after.endpoints, after.generation) == (cluster.endpoints, 3)


async def test_the_registrys_content_is_saved_and_comes_back(world: World) -> None:
    copied: list[tuple[str, ...]] = []

    def command(container: object, argv: object, stdin: bytes) -> ExecResult:
        copied.append(tuple(argv)[-2:])  # type: ignore[arg-type]
        return ExecResult(0, b"", b"")

    world.engine.on_exec(command)
    async with world.working():
        cluster = await ready(world)
        await checkpoint(world, cluster)
        await reset(world, cluster, BEFORE)
    assert copied == [("/var/lib/registry", "/saved/checkpoints/before/registry")] * 2


async def test_a_fork_has_checkpoints_too(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        cluster = await ready(world)
        await checkpoint(world, cluster)
        after = await reset(world, cluster, BEFORE)
    assert after.template_id == template.id, "its checkpoint's disks lie over the template's"
    assert goes_on(world, cluster)
    assert world.node(cluster, "node01").identity == await world.host_key(cluster)


async def test_a_checkpoint_of_a_fork_ends_what_a_reset_from_the_image_said(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        cluster = await ready(world)
        await checkpoint(world, cluster)
        world.machines.fail_next("load", CommandFailed("no"))
        booted = await reset(world, cluster, IMAGE)
        after = await reset(world, cluster, BEFORE)
    assert booted.not_forked == "its fork failed: no"
    assert after.not_forked is None


@pytest.mark.parametrize("method", ["resume", "set_clock"])
async def test_one_is_made_though_its_cluster_goes_on_at_the_second_try(world: World, method: str) -> None:
    async with world.working():
        cluster = await ready(world)
        memories = [world.node(cluster, name).memory for name in NODES]
        world.machines.fail_next(method, CommandFailed("no"))
        assert await checkpoint(world, cluster) == [("before", CheckpointPhase.READY)]
        codes = [e.code for e in await world.store.clusters.events(cluster.id) if e.type == "cluster.checkpoint"]
    assert codes == [None]
    assert goes_on(world, cluster)
    assert [world.node(cluster, name).memory for name in NODES] == memories


@pytest.mark.parametrize("method", ["pause", "save", "discard"])
async def test_one_that_cannot_be_made_leaves_a_cluster_that_runs(world: World, method: str) -> None:
    async with world.working():
        cluster = await ready(world)
        memories = [world.node(cluster, name).memory for name in NODES]
        world.machines.fail_next(method, CommandFailed("no"))
        assert await checkpoint(world, cluster) == []
        codes = [e.code for e in await world.store.clusters.events(cluster.id) if e.type == "cluster.checkpoint"]
    assert codes == ["command_failed"]
    assert goes_on(world, cluster)
    assert [world.node(cluster, name).memory for name in NODES] == memories
    assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY


async def test_an_engine_that_goes_away_is_waited_for(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.machines.fail_next("save", EngineUnavailable("nobody there"))
        assert await checkpoint(world, cluster) == [("before", CheckpointPhase.READY)]
        assert goes_on(world, cluster)


async def test_one_that_was_asked_for_while_the_cluster_was_down_is_made_when_it_is_back(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
    world.engine.restart_engine()
    await world.store.checkpoints.create(cluster.id, "before")
    async with world.working():
        assert await settled(world, cluster) == [("before", CheckpointPhase.READY)]


async def test_a_machine_that_ends_while_it_is_saved_is_booted_again(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        gate = world.machines.block("save")
        await world.store.checkpoints.create(cluster.id, "before")
        await gate.reached.wait()
        world.engine.exit(f"dayfly-{cluster.id}-node02", 1)
        gate.open()
        await world.until_event(cluster, lambda event: event.type == "cluster.recovered")
        assert await settled(world, cluster) == []
        await world.until(cluster, Phase.READY)
    assert all(container.vm_status == "running" for container in world.engine.containers.values())


async def test_a_checkpoint_that_is_deleted_is_gone(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        await checkpoint(world, cluster)
        await checkpoint(world, cluster, "another")
        await world.store.checkpoints.delete(cluster.id, "before")
        assert await settled(world, cluster) == [("another", CheckpointPhase.READY)]
        with pytest.raises(NotFound):
            await world.store.lifecycle.reset(cluster.id, BEFORE)
    volume = world.engine.volumes[f"dayfly-{cluster.id}-saved"]
    assert set(volume.files) - {BEFORE.fence(1).path} == {f"/saved/checkpoints/another/{name}" for name in NODES}


async def test_one_that_cannot_be_loaded_fails_the_cluster_by_name(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        await checkpoint(world, cluster)
        world.engine.volumes[f"dayfly-{cluster.id}-saved"].files.clear()
        await world.store.lifecycle.reset(cluster.id, BEFORE)
        after = await world.until_so(cluster, lambda now: now.phase is Phase.FAILED or now.generation > 2)
        events = await world.store.clusters.events(after.id)
        evidence = await world.store.clusters.evidence(after.id)
    assert after.phase is Phase.FAILED, "not ready with something else in it than was asked for"
    assert after.fault is not None
    assert (after.fault.code, after.fault.step) == ("checkpoint_not_loaded", "restore")
    assert after.fault.message.startswith("checkpoint before cannot be loaded: ")
    assert evidence["restore/cause"].startswith("command_failed: ")
    assert "cluster.fallback" not in [event.type for event in events]
    assert not world.engine.containers
    assert not world.engine.volumes
    assert not after.reserved
    assert await world.store.checkpoints.list(after.id) == (), "they went with the volume"


async def test_one_that_is_loaded_in_the_end_is_what_the_cluster_is_reset_to(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        wanted = [world.node(cluster, name).memory for name in NODES]
        await checkpoint(world, cluster)
        world.machines.fail_next("load", CommandFailed("no"))
        after = await reset(world, cluster, BEFORE)
    assert (after.phase, after.generation) == (Phase.READY, 2)
    assert [world.node(cluster, name).memory for name in NODES] == wanted


async def test_what_fails_after_it_was_loaded_has_its_own_name(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec(workers=1, kubernetes=True)), Phase.READY)
        await checkpoint(world, cluster)
        world.kube.not_ready("node02")
        world.kube.service_account = False
        await world.store.lifecycle.reset(cluster.id, BEFORE)
        after = await world.until_so(cluster, lambda now: now.phase is Phase.FAILED or now.generation > 2)
    assert after.fault is not None
    assert after.fault.code == "node_not_ready"
    assert not world.engine.containers


@pytest.mark.parametrize("kill_after", [1, 2, 3, 5, 8, 13])
async def test_cut_off_anywhere_it_is_made_and_nothing_stands_still(store: Store, kill_after: int) -> None:
    world = World(store)
    async with world.working():
        cluster = await ready(world)
    memories = [world.node(cluster, name).memory for name in NODES]
    await store.checkpoints.create(cluster.id, "before")

    async def is_made() -> bool:
        return not await store.checkpoints.due(cluster.id) and not (await store.clusters.get(cluster.id)).paused

    await world.work_in_pieces(kill_after, is_made)
    assert [one.phase for one in await store.checkpoints.list(cluster.id)] == [CheckpointPhase.READY]
    assert goes_on(world, cluster)
    assert [world.node(cluster, name).memory for name in NODES] == memories


@pytest.mark.parametrize("kill_after", [1, 2, 3, 5, 8, 13])
async def test_cut_off_anywhere_the_cluster_is_back_at_its_checkpoint(store: Store, kill_after: int) -> None:
    world = World(store)
    async with world.working():
        cluster = await ready(world)
        wanted = [(world.node(cluster, name).memory, world.node(cluster, name).disk) for name in NODES]
        await checkpoint(world, cluster)
        await reset(world, cluster, IMAGE)
    await store.lifecycle.reset(cluster.id, BEFORE)

    async def is_back() -> bool:
        now = await store.clusters.get(cluster.id)
        return now.phase is Phase.READY and now.reset_to is None

    await world.work_in_pieces(kill_after, is_back)
    assert [(world.node(cluster, name).memory, world.node(cluster, name).disk) for name in NODES] == wanted
    assert goes_on(world, cluster)


async def test_one_that_is_requested_while_the_engine_restarts_is_made_afterwards(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
    await world.store.checkpoints.create(cluster.id, "before")
    world.engine.restart_engine()
    async with world.working("next"):
        await world.until_event(cluster, lambda event: event.type == "cluster.recovered")
        assert await settled(world, cluster) == [("before", CheckpointPhase.READY)]


async def test_one_that_is_requested_while_the_engine_is_away_is_made_afterwards(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.fail_next("list_containers", EngineUnavailable("nobody there"))
        assert await checkpoint(world, cluster) == [("before", CheckpointPhase.READY)]


async def test_a_worker_that_was_suspended_while_it_saved_takes_nothing_away_when_it_comes_back(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
    await world.store.checkpoints.create(cluster.id, "before")
    (claim,) = await world.store.leases.claim("suspended", lease_seconds=60, limit=1)
    (requested,) = await world.store.checkpoints.due(cluster.id)
    hands = FakeMachines(world.engine)
    gate = hands.block("discard")
    context = replace(world.context(), drivers=replace(world.context().drivers, machines=hands))
    suspended = asyncio.create_task(Snapshots(context).checkpoint(claim, requested))
    await gate.reached.wait()
    await set_back(world.store, cluster.id, clusters.c.lease_expires_at)
    async with world.working("successor"):
        assert await settled(world, cluster) == [("before", CheckpointPhase.READY)]
        files = world.engine.volumes[f"dayfly-{cluster.id}-saved"].files
        made = dict(files)
        assert {f"/saved/checkpoints/before/{name}" for name in NODES} <= made.keys()
        gate.open()
        with pytest.raises(LeaseLost):
            await suspended
    assert files == made, "neither taken away nor replaced by another moment"
    assert hands.calls["save"] == 0


async def test_a_reset_does_not_overtake_a_checkpoint_that_was_asked_for_before_it(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
    wanted = [world.node(cluster, name).memory for name in NODES]
    await world.store.checkpoints.create(cluster.id, "before")
    await world.store.lifecycle.reset(cluster.id, IMAGE)
    async with world.working("next"):
        await world.until_so(cluster, lambda now: now.phase is Phase.READY and now.generation > cluster.generation)
        assert [world.node(cluster, name).memory for name in NODES] != wanted
        await reset(world, cluster, BEFORE)
        assert [world.node(cluster, name).memory for name in NODES] == wanted


async def test_after_one_a_cluster_is_ready_when_its_nodes_have_reported_since(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec(workers=1, kubernetes=True)), Phase.READY)
        world.kube.frozen("node02")
        await world.store.checkpoints.create(cluster.id, "before")
        told = await world.until_event(cluster, lambda event: event.type == "cluster.resumed")
        assert told.code == "node_not_ready"
        assert "node02" in told.message
        now = await world.store.clusters.get(cluster.id)
        assert (now.phase, now.paused) == (Phase.READY, True), "kept, and not called ready to those who wait"
        assert "kubelet/node02" in await world.store.clusters.evidence(cluster.id)
        assert [one.phase for one in await world.store.checkpoints.list(cluster.id)] == [CheckpointPhase.READY]
        world.kube.recovers("node02")
        await world.store.maintenance.requeue([cluster.id])
        await world.until_so(cluster, lambda seen: not seen.paused)
        codes = [e.code for e in await world.store.clusters.events(cluster.id) if e.type == "cluster.resumed"]
    assert codes == ["node_not_ready", None]


async def test_after_one_a_reset_does_not_wait_for_nodes_that_report_nothing(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec(workers=1, kubernetes=True)), Phase.READY)
    looks = world.kube.calls["wait_renewed"]
    await world.store.checkpoints.create(cluster.id, "before")
    await world.store.lifecycle.reset(cluster.id, IMAGE)
    async with world.working("next"):
        await world.until_so(cluster, lambda now: now.phase is Phase.READY and now.generation > cluster.generation)
    assert world.kube.calls["wait_renewed"] == looks, "the reset sees them anew"
