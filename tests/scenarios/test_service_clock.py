"""Heartbeats over stops of the service and changes of the clock, in virtual time: a real worker, a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast

import pytest

from dayfly.controllers.serving import ServingRecord
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.store import Store
from tests.support.clock import FakeClock
from tests.support.inline_store import inline_store
from tests.support.specs import make_spec
from tests.support.virtual_time import LoopClock, VirtualLoop, running_loop, virtual_boot_time
from tests.support.world import World

_INTERVAL = 6
_HOURS = 2 * 3600


def play(scenario: Callable[[World], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, inline_store() as store:
        runner.run(scenario(World(store, clock=cast("FakeClock", LoopClock()))))


@asynccontextmanager
async def service(world: World) -> AsyncIterator[None]:
    """One process with API and worker, as it starts; at the end of the block it is killed."""
    world.store = Store(world.store._database, virtual_boot_time)
    record = ServingRecord(world.store, LoopClock())
    await record.record()
    async with world.working():
        running = asyncio.create_task(record.run())
        try:
            yield
        finally:
            running.cancel()


async def create(world: World) -> Cluster:
    spec = make_spec().model_copy(update={"heartbeat_interval_seconds": _INTERVAL})
    cluster = await world.create(spec)
    while not await world.is_in(cluster, Phase.READY):
        await beat(world, cluster, 1)
    return cluster


async def beat(world: World, cluster: Cluster, seconds: int) -> None:
    """As a client: a heartbeat each second."""
    for _ in range(seconds):
        await world.store.updates.heartbeat(cluster.id)
        await asyncio.sleep(1)


async def expect_a_full_interval(world: World, cluster: Cluster) -> None:
    await asyncio.sleep(_INTERVAL - 2)
    assert await world.is_in(cluster, Phase.READY)
    await asyncio.sleep(_INTERVAL + 4)
    assert await world.is_in(cluster, Phase.DELETED), "silence in which a caller could be heard ends a cluster"


@pytest.mark.parametrize("stopped", [5, 10, 600])
def test_a_stopped_service_grants_a_full_interval(stopped: int) -> None:
    async def scenario(world: World) -> None:
        async with service(world):
            cluster = await create(world)
        await asyncio.sleep(stopped)
        async with service(world):
            await expect_a_full_interval(world, cluster)

    play(scenario)


@pytest.mark.parametrize("suspended", [10, _HOURS])
def test_a_suspended_host_grants_a_full_interval(suspended: int) -> None:
    async def scenario(world: World) -> None:
        async with service(world):
            cluster = await create(world)
            await beat(world, cluster, 10)
            # All timers fire late, and both clocks counted the time.
            running_loop().skip(suspended)
            await expect_a_full_interval(world, cluster)

    play(scenario)


@pytest.mark.parametrize("jump", [_HOURS, -_HOURS])
def test_a_set_clock_neither_ends_nor_prolongs_a_heartbeat_interval(jump: int) -> None:
    async def scenario(world: World) -> None:
        async with service(world):
            cluster = await create(world)
            await beat(world, cluster, 10)
            running_loop().began += timedelta(seconds=jump)
            await world.store.maintenance.requeue([cluster.id])
            # A second has passed since the last heartbeat.
            await asyncio.sleep(_INTERVAL - 3)
            assert await world.is_in(cluster, Phase.READY)
            await asyncio.sleep(8)
            assert await world.is_in(cluster, Phase.DELETED)

    play(scenario)


def test_after_a_kill_and_a_clock_set_back_a_deletion_is_carried_out() -> None:
    async def scenario(world: World) -> None:
        cluster = await world.create(make_spec())
        await world.store.admission.admit(lambda queue: queue.waiting)
        await world.store.leases.claim("killed", lease_seconds=world.lease_seconds, limit=1)
        running_loop().began -= timedelta(seconds=_HOURS)
        async with service(world):
            await world.store.lifecycle.delete(cluster.id)
            await asyncio.sleep(10)
            assert await world.is_in(cluster, Phase.DELETED)

    play(scenario)
