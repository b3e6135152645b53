"""Recovery of ready clusters that went down: they return with their disks, or fail with a code; none is recreated."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import Restart
from dayfly.domain.scheduling.resources import demand
from dayfly.errors import EngineUnavailable
from dayfly.store import NewCluster, Store
from tests.support.specs import make_spec
from tests.support.world import GIVE_UP_SECONDS, World


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def ready(world: World, *, restart: Restart = "always", kubernetes: bool = False) -> Cluster:
    spec = make_spec(workers=1, kubernetes=kubernetes).model_copy(update={"restart": restart})
    return await world.until(await world.create(spec), Phase.READY)


async def is_back(world: World, cluster: Cluster, times: int = 1) -> Cluster:
    """The cluster, ready once it has recovered so often."""

    async def recoveries() -> int:
        return [event.type for event in await world.store.clusters.events(cluster.id)].count("cluster.recovered")

    async with asyncio.timeout(GIVE_UP_SECONDS):
        with world.store.watch(cluster.id) as watch:
            while await recoveries() < times:
                await watch.wait(GIVE_UP_SECONDS)
    return await world.until(cluster, Phase.READY)


async def test_a_restarted_engine_brings_everything_back_where_it_was(world: World) -> None:
    async with world.working():
        before = await ready(world, kubernetes=True)
        made = list(world.engine.created)
        world.engine.restart_engine()
        after = await is_back(world, before)
    assert world.engine.created == made, "nothing was made anew"
    assert after.endpoints == before.endpoints
    assert (after.ready_at, after.restarts) == (before.ready_at, 0), "an engine's restart is no machine's fault"
    assert all(container.state == "running" for container in world.engine.containers.values())
    story = [e.message for e in await world.store.clusters.events(before.id) if e.type == "cluster.recovering"]
    assert len(story) == 1
    assert "engine or its host" in story[0]


async def test_what_happened_while_no_worker_ran_is_seen_at_the_start_of_the_next(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
    world.engine.exit(f"dayfly-{cluster.id}-node02")
    async with world.working("next"):
        await is_back(world, cluster)


async def test_a_machine_that_exits_is_started_again_and_the_story_is_told(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.exit(f"dayfly-{cluster.id}-node02", 139, "qemu: segmentation fault")
        back = await is_back(world, cluster)
    assert back.restarts == 1
    events = [
        (e.type, e.node) for e in await world.store.clusters.events(cluster.id) if e.type.startswith("cluster.recover")
    ]
    assert events == [("cluster.recovering", "node02"), ("cluster.recovered", None)]
    assert world.clock.slept[-1:] == [world.settings.restart_backoff_seconds]


async def test_a_machine_that_exits_again_and_again_fails_its_cluster_with_the_console(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        name = f"dayfly-{cluster.id}-node01"
        for round_ in range(1, world.settings.restart_limit + 1):
            world.engine.exit(name, 1, f"end {round_}")
            assert (await is_back(world, cluster, round_)).restarts == round_
        world.engine.exit(name, 1, "the last straw")
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.node) == ("vm_exited", "node01")
    assert "the last straw" in failed.fault.message
    evidence = await world.store.clusters.evidence(cluster.id)
    assert "the last straw" in evidence["node01/log"]
    assert "node01/console" in evidence
    assert not world.engine.containers


@pytest.mark.parametrize(("restarted", "code"), [(True, "engine_restarted"), (False, "vm_exited")])
async def test_a_cluster_that_is_not_to_be_restarted_fails(world: World, restarted: bool, code: str) -> None:
    async with world.working():
        cluster = await ready(world, restart="never")
        if restarted:
            world.engine.restart_engine()
        else:
            world.engine.exit(f"dayfly-{cluster.id}-node01")
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == code
    assert not world.engine.containers


@pytest.mark.parametrize("part", ["net", "registry", "node02"])
async def test_a_container_removed_by_hand_is_noticed_and_named(world: World, part: str) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.remove_by_hand(f"dayfly-{cluster.id}-{part}")
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "container_removed"
    assert f"dayfly-{cluster.id}-{part}" in failed.fault.message
    assert not world.engine.containers


async def test_a_namespace_that_was_made_anew_has_its_machines_started_again_in_it(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.exit(f"dayfly-{cluster.id}-net", 1)
        await is_back(world, cluster)
    net = world.engine.containers[f"dayfly-{cluster.id}-net"]
    for container in world.engine.containers.values():
        assert container.state == "running"
        assert container is net or container.starts == 2


async def test_an_engine_that_is_away_changes_no_phase(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.engine_down()
        await world.store.maintenance.requeue([cluster.id])
        during = await world.store.clusters.get(cluster.id)
        world.engine.engine_up()
        assert during.phase is Phase.READY
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)


async def test_an_engine_that_goes_away_while_a_cluster_comes_back_is_waited_for(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        made = list(world.engine.created)
        world.engine.fail_next("ensure", EngineUnavailable("starting up"), times=3)
        world.engine.restart_engine()
        await is_back(world, cluster)
    assert world.engine.created == made


async def test_a_machine_that_does_not_come_back_fails_the_cluster_but_is_never_replaced_by_a_blank_one(
    world: World,
) -> None:
    async with world.working():
        cluster = await ready(world)
        made = list(world.engine.created)
        world.ssh.never_answers()
        world.engine.restart_engine()
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.step == "boot"
    assert world.engine.created == made


@pytest.mark.parametrize(("part", "node"), [("net", None), ("registry", None), ("node02", "node02")])
async def test_a_container_removed_while_its_cluster_comes_back_is_not_replaced(
    world: World, part: str, node: str | None
) -> None:
    """Even if a container is removed at the last moment, after all checks."""
    async with world.working():
        cluster = await ready(world)
        made = list(world.engine.created)
        gate = world.engine.block("ensure")
        world.engine.restart_engine()
        async with asyncio.timeout(GIVE_UP_SECONDS):
            await gate.reached.wait()
        world.engine.remove_by_hand(f"dayfly-{cluster.id}-{part}")
        gate.open()
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.node) == ("container_removed", node)
    assert world.engine.created == made


async def test_an_engine_restarted_while_a_cluster_is_made_costs_it_no_attempt(world: World) -> None:
    gate = world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec(workers=1))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            await gate.reached.wait()
        made = list(world.engine.created)
        world.engine.restart_engine()
        gate.open()
        seen = await world.until(cluster, Phase.READY, Phase.FAILED)
    assert (seen.phase, seen.restarts) == (Phase.READY, 0)
    assert world.engine.created == made


async def test_a_network_that_ends_while_a_cluster_is_made_is_made_anew_before_anything_else(world: World) -> None:
    gate = world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec(workers=1))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            await gate.reached.wait()
        world.engine.exit(f"dayfly-{cluster.id}-net", 1)
        gate.open()
        assert (await world.until(cluster, Phase.READY, Phase.FAILED)).phase is Phase.READY


async def test_a_machine_that_ends_after_its_boot_is_started_again_though_a_later_step_meets_it(world: World) -> None:
    gate = world.kube.block("wait_nodes_ready")
    async with world.working():
        cluster = await world.create(make_spec(workers=1, kubernetes=True))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            await gate.reached.wait()
        world.engine.exit(f"dayfly-{cluster.id}-node01", 139)
        await world.until_event(cluster, lambda event: event.type == "step.waiting")
        gate.open()
        seen = await world.until(cluster, Phase.READY, Phase.FAILED)
    assert (seen.phase, seen.restarts) == (Phase.READY, 1)


async def test_a_machine_that_ends_while_others_still_boot_is_not_forgotten(world: World) -> None:
    gate = world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec(workers=1))
        await gate.reached.wait()
        gate.open()
        await world.until(cluster, Phase.READY)
        assert all(container.state == "running" for container in world.engine.containers.values())


async def test_a_fork_that_booted_from_its_own_disk_counts_with_all_its_memory(world: World) -> None:
    async with world.working():
        await world.template(make_spec())
        made, _ = await world.store.clusters.create(NewCluster("fork", make_spec(), memory_factor=4.0))
        fork = await world.until(made, Phase.READY)
        assert fork.template_id is not None
        assert (await world.store.admission.queue()).held["default"] == demand(make_spec(), memory_factor=4.0)
        world.engine.exit(f"dayfly-{fork.id}-node01")
        await world.until_event(fork, lambda event: event.type == "cluster.recovered")
        assert (await world.store.admission.queue()).held["default"] == demand(make_spec())
