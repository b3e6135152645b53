"""Passes during an engine outage: requeued with back-off, woken by its answer, one event an outage."""

from __future__ import annotations

import pytest

from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.cluster.outcome import RequeueAfter
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Event
from dayfly.errors import DatabaseUnavailable, EngineUnavailable
from dayfly.settings import Settings
from dayfly.store import Store
from tests.support.specs import make_spec
from tests.support.world import World

NEVER_SECONDS = 3600.0


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def waits(event: Event) -> bool:
    return (event.type, event.code) == ("step.waiting", "engine_unavailable")


async def test_clusters_that_wait_for_the_engine_hold_no_slot_and_are_woken_when_it_answers(
    world: World,
) -> None:
    world.outages = Outages(world.store, first_seconds=NEVER_SECONDS)
    world.engine.engine_down()
    async with world.working():
        clusters = [await world.create(make_spec()) for _ in range(9)]  # the worker has eight slots
        for cluster in clusters:
            told = await world.until_event(cluster, waits)
            assert told.message.startswith("waiting for the engine: ")
        assert {(await world.store.clusters.get(cluster.id)).phase for cluster in clusters} == {Phase.PENDING}
        world.engine.engine_up()
        for cluster in clusters:
            await world.until(cluster, Phase.READY)


async def test_a_cluster_that_failed_as_the_engine_went_away_has_failed_and_is_cleared_away_later(world: World) -> None:
    world.settings = Settings(step_attempts=1)
    world.ssh.never_answers()
    world.engine.fail_always(EngineUnavailable("nobody there"), "remove")
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
        assert failed.fault is not None
        assert failed.fault.code == "dhcp_timeout"
        assert failed.reserved
        await world.until_event(failed, waits)
        world.engine.heal()
        await world.until_so(failed, lambda now: not now.reserved)
    assert not world.engine.containers


async def test_a_deletion_that_waits_for_the_engine_names_its_step(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
        world.engine.engine_down()
        await world.store.lifecycle.delete(cluster.id)
        assert (await world.until_event(cluster, waits)).step == "teardown"
        world.engine.engine_up()
        await world.until(cluster, Phase.DELETED)


async def test_the_pause_doubles_until_a_pass_ends_otherwise_and_one_event_tells_of_the_outage(world: World) -> None:
    cluster = await world.create(make_spec())
    await world.store.admission.admit(lambda queue: queue.waiting)
    (claim,) = await world.store.leases.claim("tester", lease_seconds=60, limit=1)
    outages, away = Outages(world.store), EngineUnavailable("nobody there")
    pauses = [await outages.requeue(claim, away) for _ in range(8)]
    assert pauses == [RequeueAfter(seconds) for seconds in (0.25, 0.5, 1, 2, 4, 8, 15, 15)]
    outages.end(cluster.id)
    assert await outages.requeue(claim, DatabaseUnavailable("locked")) == RequeueAfter(0.25)
    assert [event.code for event in await world.store.clusters.events(cluster.id) if event.type == "step.waiting"] == [
        away.code
    ]
