"""The sweeper removes exactly what nobody owns: decoys of every kind stay untouched."""

from __future__ import annotations

import pytest

from dayfly.domain.lifecycle import Phase
from dayfly.domain.naming import LABEL_CLUSTER, LABEL_INSTANCE
from dayfly.store import Store
from tests.support.specs import make_spec
from tests.support.world import World

OURS = {LABEL_INSTANCE: "default"}


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def everything(world: World) -> set[tuple[str, str]]:
    engine = world.engine
    kinds = {"container": engine.containers, "volume": engine.volumes, "network": engine.networks}
    return {(kind, name) for kind, things in kinds.items() for name in things}


async def test_decoys_stay_and_strays_go(world: World) -> None:
    async with world.working():
        living = await world.until(await world.create(make_spec()), Phase.READY)
        gone = await world.until(await world.create(make_spec()), Phase.READY)
        await world.store.request_deletion(gone.id)
        await world.until(gone, Phase.DELETED)
    decoys = {
        ("container", f"dayfly-{living.id}-node99"): {LABEL_INSTANCE: "default2", LABEL_CLUSTER: gone.id},
        ("container", f"dayfly-{gone.id}-node01-of-mine"): {},
        ("container", "dayfly"): {LABEL_INSTANCE: "another", LABEL_CLUSTER: gone.id},
        ("volume", f"dayfly-{gone.id}-data"): {LABEL_CLUSTER: gone.id},
        ("volume", f"dayfly-{living.id}-data"): {**OURS, LABEL_CLUSTER: living.id},
        ("network", f"dayfly-{gone.id}"): {LABEL_INSTANCE: "defaul"},
    }
    strays = {
        ("container", f"dayfly-{gone.id}-late"): {**OURS, LABEL_CLUSTER: gone.id},
        ("container", "whatever"): {**OURS, LABEL_CLUSTER: "0123456789ab"},
        ("volume", "ours"): {**OURS, LABEL_CLUSTER: gone.id},
        ("network", "ours"): {**OURS, LABEL_CLUSTER: gone.id},
    }
    for (kind, name), labels in {**decoys, **strays}.items():
        world.engine.plant(kind, name, labels)
    sweeper = world.sweeper()
    found = {(stray.holding.kind, stray.holding.name) for stray in await sweeper.strays()}
    assert found == set(strays)
    await sweeper.look()
    assert set(decoys) <= everything(world)
    assert not set(strays) & everything(world)
    assert await sweeper.strays() == ()
    assert len([name for name in world.engine.containers if living.id in name]) == 3 + 1


async def test_what_was_never_on_record_is_left_alone_for_a_while(world: World) -> None:
    world.engine.plant("container", "unknown", {**OURS, LABEL_CLUSTER: "0123456789ab"})
    sweeper = world.sweeper(grace_seconds=600)
    await sweeper.look()
    assert ("container", "unknown") in everything(world)
    world.clock.advance(599)
    await sweeper.look()
    assert ("container", "unknown") in everything(world)
    world.clock.advance(2)
    await sweeper.look()
    assert ("container", "unknown") not in everything(world)


async def test_a_cluster_that_is_being_made_is_never_swept(world: World) -> None:
    gate = world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec())
        await gate.reached.wait()
        assert await world.sweeper().strays() == ()
        gate.open()
        await world.until(cluster, Phase.READY)
        assert await world.sweeper().strays() == ()


async def test_a_container_that_came_late_to_a_failed_cluster_goes(world: World) -> None:
    world.ssh.never_answers()
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
    world.engine.plant("container", f"dayfly-{failed.id}-node01", {**OURS, LABEL_CLUSTER: failed.id})
    await world.sweeper().look()
    assert not world.engine.containers


async def test_history_is_forgotten_when_its_time_is_over(world: World) -> None:
    async with world.working():
        cluster = await world.create(make_spec())
        await world.store.request_deletion(cluster.id)
        await world.until(cluster, Phase.DELETED)
    sweeper = world.sweeper()
    await sweeper.look()
    assert (await world.store.get_cluster(cluster.id)).phase is Phase.DELETED
    sweeper._history_seconds = 0.0
    await sweeper.look()
    assert not (await world.store.list_clusters(phases=list(Phase))).clusters
