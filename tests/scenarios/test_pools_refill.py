"""Pools on real workers: members are forked, paused, resumed at a claim, and replaced, also after a worker's death."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.pool import Pool
from dayfly.errors import CommandFailed
from dayfly.store import Store
from tests.support.specs import make_spec
from tests.support.template_controllers import Company, make_pool, waiting
from tests.support.world import World


async def test_a_pool_lives_on_workers_and_its_member_wakes_up_when_it_is_taken(store: Store) -> None:
    world, company = World(store), Company(store, accelerator="kvm")
    pool = await make_pool(company)
    loop = asyncio.create_task(company.pools(poll_seconds=0.1).run())
    try:
        async with world.working():
            await until_waiting(company, pool, 2)
            for member in await waiting(company, pool):
                assert world.node(member, "node01").vm_status == "paused"
            before = {member.id for member in await waiting(company, pool)}
            mine = await world.create(make_spec(), "mine")
            assert mine.id in before
            awake = await world.until(mine, Phase.READY, Phase.FAILED)
            assert awake.phase is Phase.READY
            assert world.node(awake, "node01").vm_status == "running"
            await until_waiting(company, pool, 2)
            await store.pools.delete("ci")
            for member in await store.pools.members(pool.id):
                await world.until(member, Phase.DELETED)
            assert {c.spec.labels["dayfly.cluster"] for c in world.engine.containers.values()} == {mine.id}
            assert (await store.clusters.get(mine.id)).phase is Phase.READY
            assert await world.collector().orphans() == ()
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


@pytest.mark.parametrize("seen", [True, False])
async def test_a_member_whose_machine_ends_is_no_use_to_anybody_until_it_is_whole(store: Store, seen: bool) -> None:
    world, company = World(store), Company(store, accelerator="kvm")
    pool = await make_pool(company, size=1)
    loop = asyncio.create_task(company.pools(poll_seconds=0.1).run())
    try:
        async with world.working():
            await until_waiting(company, pool, 1)
            (member,) = await waiting(company, pool)
            if seen:
                world.engine.exit(f"dayfly-{member.id}-node01")
        if not seen:  # by the engine's events; the next comparison sees the exit
            world.engine.exit(f"dayfly-{member.id}-node01")
        async with world.working():
            async with asyncio.timeout(20):
                while not await is_whole(world, company, pool):  # noqa: ASYNC110 - no watch tells of the engine
                    await asyncio.sleep(0.02)
            taken = await world.create(make_spec())
            awake = await world.until_so(taken, lambda now: now.phase is Phase.READY and not now.paused)
            assert world.node(awake, "node01").vm_status == "running"
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


@pytest.mark.parametrize("status", ["internal-error", "shutdown", "running"])
async def test_a_member_whose_machine_does_not_wait_is_replaced_before_anybody_gets_it(
    store: Store, status: str
) -> None:
    world, company = World(store), Company(store, accelerator="kvm")
    pool = await make_pool(company, size=2)
    loop = asyncio.create_task(company.pools(poll_seconds=0.1).run())
    try:
        async with world.working():
            await until_waiting(company, pool, 2)
            broken, whole = await waiting(company, pool)
            world.node(broken, "node01").vm_status = status
            await world.pool_health().look()
            await world.until(broken, Phase.DELETED)
            await until_waiting(company, pool, 2)
            assert whole.id in {member.id for member in await waiting(company, pool)}
            assert await is_whole(world, company, pool, 2)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_looking_at_those_that_wait_keeps_nobody_from_getting_one(store: Store) -> None:
    world, company = World(store), Company(store, accelerator="kvm")
    pool = await make_pool(company, size=1)
    async with world.working():
        loop = asyncio.create_task(company.pools(poll_seconds=0.1).run())
        await until_waiting(company, pool, 1)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        (member,) = await waiting(company, pool)
        gate = world.machines.block("status")
        look = asyncio.create_task(world.pool_health().look())
        await gate.reached.wait()
        assert (await world.create(make_spec(), "mine")).id == member.id
        gate.open()
        await look
        mine = await world.until(member, Phase.READY, Phase.FAILED)
    assert (mine.phase, mine.generation, mine.fault) == (Phase.READY, 1, None)


async def test_one_that_does_not_say_how_it_is_is_looked_at_by_a_worker(store: Store) -> None:
    world, company = World(store), Company(store, accelerator="kvm")
    pool = await make_pool(company, size=1)
    loop = asyncio.create_task(company.pools(poll_seconds=0.1).run())
    try:
        async with world.working():
            await until_waiting(company, pool, 1)
            (member,) = await waiting(company, pool)
            world.machines.fail_next("status", CommandFailed("QEMU answered nonsense"), times=2)
            await world.pool_health().look()
            failed = await world.until_event(member, lambda event: event.code is not None)
            assert failed.code == "command_failed"
            await world.until(member, Phase.DELETED)
            await until_waiting(company, pool, 1)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def is_whole(world: World, company: Company, pool: Pool, count: int = 1) -> bool:
    """Whether so many wait, and their machines run and are paused."""
    names = [f"dayfly-{member.id}-node01" for member in await waiting(company, pool)]
    found = [world.engine.containers[name] for name in names if name in world.engine.containers]
    return [(container.alive, container.vm_status) for container in found] == [(True, "paused")] * count


@pytest.mark.parametrize("calls", [1, 3, 7, 15])
async def test_a_pool_is_filled_whenever_its_workers_die(store: Store, calls: int) -> None:
    world, company = World(store, lease_seconds=0.2), Company(store, accelerator="kvm")
    pool = await make_pool(company, size=1)

    async def filled() -> bool:
        await company.pools().look()
        return len(await waiting(company, pool)) == 1

    await world.work_in_pieces(calls, filled)
    (member,) = await waiting(company, pool)
    assert world.node(member, "node01").vm_status == "paused"
    async with world.working():
        for other in (await store.clusters.list(purposes=[Purpose.TEMPLATE, Purpose.VERIFICATION])).clusters:
            await world.until(other, Phase.DELETED)
    assert len(await store.pools.members(pool.id)) == 1
    assert await world.collector().orphans() == ()


async def until_waiting(company: Company, pool: Pool, count: int) -> None:
    with company.store.watch_work() as watch:
        async with asyncio.timeout(20):
            while len(await waiting(company, pool)) != count:
                await watch.wait(0.1)
