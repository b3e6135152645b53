"""Admission: fitting requests start, others wait, and a deleted cluster's share is free after its removal."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.errors import EngineRefused, EngineUnavailable
from dayfly.store import Store
from tests.support.specs import make_spec
from tests.support.world import World

ONE = demand(make_spec())


@pytest.fixture
def world(store: Store) -> World:
    return World(store, offered=ONE + ONE)


async def waiting(world: World) -> list[str]:
    return [one.id for one in (await world.store.admission.queue()).waiting]


async def test_what_does_not_fit_waits_until_a_teardown_has_finished(world: World) -> None:
    async with world.working():
        first, second = [await world.until(await world.create(make_spec()), Phase.READY) for _ in range(2)]
        third = await world.create(make_spec())
        gate = world.engine.block("remove")
        await world.store.lifecycle.delete(first.id)
        async with asyncio.timeout(10):
            await gate.reached.wait()
        assert (await world.store.clusters.get(third.id)).phase is Phase.PENDING
        assert await waiting(world) == [third.id]
        gate.open()
        assert (await world.until(third, Phase.READY)).admitted_at is not None
        assert (await world.store.clusters.get(second.id)).phase is Phase.READY


async def test_who_has_less_goes_first(world: World) -> None:
    greedy = [await world.create(make_spec(), owner="greedy") for _ in range(3)]
    modest = await world.create(make_spec(), owner="modest")
    async with world.working():
        for cluster in (greedy[0], modest):
            await world.until(cluster, Phase.READY)
        assert await waiting(world) == [greedy[1].id, greedy[2].id]


async def test_a_failed_cluster_gives_its_room_back(world: World) -> None:
    world.offered = ONE
    world.engine.fail_always(EngineRefused("no"), "ensure")
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
        assert not failed.reserved
        world.engine.heal()
        await world.until(await world.create(make_spec()), Phase.READY)


async def test_one_that_waits_can_be_deleted_and_frees_nothing_but_its_place(world: World) -> None:
    world.offered = ONE
    async with world.working():
        await world.until(await world.create(make_spec()), Phase.READY)
        second, third = [await world.create(make_spec()) for _ in range(2)]
        await world.store.lifecycle.delete(second.id)
        await world.until(second, Phase.DELETED)
        assert await waiting(world) == [third.id]
    assert len({container.spec.labels["dayfly.cluster"] for container in world.engine.containers.values()}) == 1


async def test_while_the_host_cannot_be_asked_nobody_is_admitted_and_nobody_lost(world: World) -> None:
    answers = [EngineUnavailable("nobody there"), EngineUnavailable("nobody there")]

    async def offered() -> Resources:
        if answers:
            raise answers.pop()
        return ONE

    cluster = await world.create(make_spec())
    admission = world.admission()
    admission._offered = offered
    for _ in range(2):
        with pytest.raises(EngineUnavailable):
            await admission.look()
    assert await waiting(world) == [cluster.id]
    assert await admission.look() == (cluster.id,)


async def test_under_pressure_clusters_boot_one_after_the_other(world: World) -> None:
    world.offered = Resources(100, 10**6, 10**6)
    gate = world.ssh.block("wait")
    async with world.working():
        first = await world.create(make_spec(workers=1))
        async with asyncio.timeout(10):
            await gate.reached.wait()
        world.pressure.percent = 95
        second = await world.create(make_spec(workers=1))
        told = await world.until_event(second, lambda event: event.type == "step.waiting")
        assert "95 %" in told.message
        assert not [name for name in world.engine.created if name.startswith(f"dayfly-{second.id}-node")]
        gate.open()
        await world.until(first, Phase.READY)
        await world.until(second, Phase.READY)
