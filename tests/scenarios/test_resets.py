"""Resets: the same cluster, ports and keys, with machines in the initial state or at a checkpoint."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.errors import CommandFailed, EngineUnavailable
from dayfly.store import Store
from dayfly.store.db.tables import templates
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec
from tests.support.world import World

SPEC = make_spec(workers=1, kubernetes=True)


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def ready(world: World) -> Cluster:
    return await world.until(await world.create(SPEC), Phase.READY)


async def reset(world: World, cluster: Cluster) -> Cluster:
    """The cluster, ready once more."""
    before = await world.store.lifecycle.reset(cluster.id, IMAGE)
    return await world.until_so(
        cluster,
        lambda now: now.phase is Phase.FAILED or (now.phase is Phase.READY and now.generation > before.generation),
    )


@pytest.mark.parametrize("forked", [True, False])
async def test_a_reset_cluster_is_the_same_with_other_machines(world: World, forked: bool) -> None:
    async with world.working():
        if forked:
            await world.template(SPEC)
        before = await ready(world)
        secrets = await world.store.clusters.secrets(before.id)
        net, old = (
            world.node(before, "net"),
            {name: world.node(before, name) for name in ("node01", "node02", "registry")},
        )
        after = await reset(world, before)
    assert (after.phase, after.generation, after.reset_to, after.boot_source) == (Phase.READY, 2, None, None)
    assert (after.endpoints, after.ready_at, after.template_id) == (
        before.endpoints,
        before.ready_at,
        before.template_id,
    )
    assert await world.store.clusters.secrets(before.id) == secrets
    assert world.node(after, "net") is net
    for name, container in old.items():
        assert world.node(after, name) is not container
        assert world.node(after, name).spec.labels["dayfly.generation"] == "2"
    if forked:
        assert world.node(after, "node01").memory == old["node01"].memory
        assert world.node(after, "node01").identity == await world.host_key(after)
    types = [event.type for event in await world.store.clusters.events(after.id)]
    assert types.count("cluster.reset") == 2
    assert "cluster.fallback" not in types


async def test_many_resets_in_a_row_leak_nothing(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        cluster = await ready(world)
        for _ in range(20):
            cluster = await reset(world, cluster)
        assert cluster.generation == 21
        assert len(world.engine.containers) == 4
        assert {volume for volume in world.engine.volumes if cluster.id in volume} == {f"dayfly-{cluster.id}-saved"}


async def test_a_reset_that_fails_from_the_template_is_made_from_the_image(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        before = await ready(world)
        secrets = await world.store.clusters.secrets(before.id)
        world.machines.fail_next("load", CommandFailed("no"))
        after = await reset(world, before)
        after = await world.until(after, Phase.READY)
        assert await world.store.clusters.secrets(after.id) == secrets
    assert (after.endpoints, after.generation) == (before.endpoints, 3)
    assert [e.code for e in await world.store.clusters.events(after.id) if e.type == "cluster.fallback"] == [
        "command_failed"
    ]
    assert after.not_forked == "its fork failed: no"
    assert world.node(after, "node01").memory != ""


async def test_a_reset_whose_template_serves_no_more_is_made_from_the_image_and_says_so(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        before = await ready(world)
        assert before.not_forked is None
        async with world.store._database.write() as transaction:
            await transaction.connection.execute(update(templates).values(phase=TemplatePhase.FAILED))
        booted = await reset(world, before)
        async with world.store._database.write() as transaction:
            await transaction.connection.execute(update(templates).values(phase=TemplatePhase.READY))
        forked = await reset(world, before)
    why = f"template {template.id} accepts no forks any more"
    assert (booted.phase, booted.template_id, booted.not_forked) == (Phase.READY, template.id, why)
    found = [e.message for e in await world.store.clusters.events(before.id) if e.type == "cluster.not_forked"]
    assert found == [f"boots from its image: {why}"]
    assert (forked.phase, forked.template_id, forked.not_forked) == (Phase.READY, template.id, None)


async def test_a_reset_that_cannot_boot_either_fails_the_cluster(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.ssh.never_answers()
        failed = await reset(world, cluster)
    assert failed.phase is Phase.FAILED
    assert failed.fault is not None
    assert failed.fault.step == "boot"
    assert not world.engine.containers


async def test_a_fork_of_a_retired_template_still_goes_back_to_it(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        cluster = await ready(world)
        await world.store.templates.retire(template.id)
        after = await reset(world, cluster)
    assert (after.phase, after.generation, after.template_id) == (Phase.READY, 2, template.id)
    assert "cluster.fallback" not in [event.type for event in await world.store.clusters.events(after.id)]


async def test_a_network_that_somebody_removes_meanwhile_is_not_replaced(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        gate = world.engine.block("remove")
        await world.store.lifecycle.reset(cluster.id, IMAGE)
        await gate.reached.wait()
        world.engine.remove_by_hand(f"dayfly-{cluster.id}-net")
        gate.open()
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "container_removed"


async def test_an_engine_that_goes_away_is_waited_for(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.fail_next("remove", EngineUnavailable("nobody there"), times=2)
        assert (await reset(world, cluster)).phase is Phase.READY


@pytest.mark.parametrize("forked", [True, False])
@pytest.mark.parametrize("kill_after", [1, 2, 3, 5, 8, 13, 21])
async def test_cut_off_anywhere_the_next_worker_ends_the_reset(store: Store, kill_after: int, forked: bool) -> None:
    world = World(store)
    async with world.working():
        if forked:
            await world.template(SPEC)
        cluster = await ready(world)
    await world.store.lifecycle.reset(cluster.id, IMAGE)

    async def is_reset() -> bool:
        now = await store.clusters.get(cluster.id)
        return now.phase is Phase.READY and now.reset_to is None

    await world.work_in_pieces(kill_after, is_reset)
    after = await store.clusters.get(cluster.id)
    assert (after.generation, after.endpoints) == (2, cluster.endpoints)
    assert [c.spec.labels["dayfly.generation"] for c in world.engine.containers.values()].count("2") == 3
    assert world.engine.created.count(f"dayfly-{cluster.id}-net") == 1
