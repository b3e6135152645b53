"""The host's share that the verification of a bake waits for. Not here: bakes themselves (test_bakes.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dayfly.controllers.admission import Admission
from dayfly.domain.bake import Bake
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import (
    DatabaseUnavailable,
)
from dayfly.store import Store
from dayfly.vocabulary import BakePhase
from tests.support.bakery import HOST, Bakery

POINTS = range(1, 31)
"""The instructions of a whole bake; some more, while the builder waits for another one."""


@pytest.fixture
def bakery(store: Store) -> Bakery:
    return Bakery(store)


@asynccontextmanager
async def admission(store: Store, offered: Resources = HOST) -> AsyncIterator[None]:
    """As a worker runs it."""

    async def all_of_it() -> Resources:
        return offered

    running = asyncio.create_task(Admission(store, all_of_it, 0.02).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_a_verification_waits_for_its_share_of_the_host(bakery: Bakery) -> None:
    bakery.needs, bakery.hang = Resources(3, 4096, 10), "verify"
    first, second = await bakery.order(), await bakery.order()
    async with bakery.builder(concurrency=2).working(), admission(bakery.store):
        await bakery.hanging.wait()
        running, waiting = await by_room(bakery, first, second)
        queue = await bakery.store.admission.queue()
        assert queue.held == {"me": bakery.needs}
        await bakery.until_waiting(waiting)
        bakery.hang = None
        await bakery.store.bakes.cancel(running.id)
        await bakery.until(running)
        ended = await bakery.until(waiting)
    assert ended.phase is BakePhase.SUCCEEDED
    types = await bakery.types(waiting)
    assert types.index("step.waiting") < types.index("admitted") < types.index("succeeded")
    assert (await bakery.store.admission.queue()).in_use == Resources(), "a bake that has ended holds nothing"


async def by_room(bakery: Bakery, *bakes: Bake) -> tuple[Bake, Bake]:
    """First the bake whose verification is admitted."""
    found = [await bakery.store.bakes.get(bake.id) for bake in bakes]
    first, second = sorted(found, key=lambda bake: not bake.reserved)
    assert (first.reserved, second.reserved) == (True, False)
    return first, second


async def test_a_verification_that_waits_is_cancelled(bakery: Bakery) -> None:
    bakery.needs = Resources(1, 1024, 10)
    bake = await bakery.order()
    async with bakery.builder().working():
        await bakery.until_waiting(bake)
        await bakery.store.bakes.cancel(bake.id)
        await bakery.until_ended(bake, BakePhase.CANCELLED)
    assert not (await bakery.store.admission.queue()).waiting


async def test_a_verification_that_never_fits_fails_at_once(bakery: Bakery) -> None:
    bakery.needs = Resources(HOST.vcpus + 1, 1024, 10)
    bake = await bakery.order()
    async with bakery.builder().working():
        failed = await bakery.until_ended(bake, BakePhase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "capacity"
    assert "5 vCPUs" in failed.fault.message


async def test_the_share_of_a_builder_that_died_is_asked_for_again(bakery: Bakery) -> None:
    bakery.needs, bakery.hang = Resources(3, 4096, 10), "verify"
    bake = await bakery.order()
    first = bakery.builder("first")
    async with first.working():
        async with admission(bakery.store):
            await bakery.hanging.wait()
        await first.die()
        assert (await bakery.store.admission.queue()).in_use == bakery.needs, "its machine may still run"
        await bakery.expire_leases()
        bakery.hang = None
        async with bakery.builder("second").working():
            await bakery.until_waiting(bake)
            assert (await bakery.store.admission.queue()).in_use == Resources()
            async with admission(bakery.store):
                await bakery.until_ended(bake, BakePhase.SUCCEEDED)


async def test_a_builder_that_is_stopped_gives_its_share_back(bakery: Bakery) -> None:
    bakery.needs, bakery.hang = Resources(3, 4096, 10), "verify"
    await bakery.order()
    async with admission(bakery.store), bakery.builder("first").working():
        await bakery.hanging.wait()
    queue = await bakery.store.admission.queue()
    assert (queue.in_use, queue.waiting) == (Resources(), ())


async def test_a_verification_waits_through_an_outage_of_the_database(
    bakery: Bakery, monkeypatch: pytest.MonkeyPatch
) -> None:
    bakery.needs = Resources(1, 1024, 10)
    leases, away = bakery.store.bake_leases, [DatabaseUnavailable("away")]
    ask = leases.ask_for_room

    async def failing(*arguments: Any) -> None:
        if away:
            raise away.pop()
        await ask(*arguments)

    monkeypatch.setattr(leases, "ask_for_room", failing)
    bake = await bakery.order()
    async with admission(bakery.store), bakery.builder().working():
        ended = await bakery.until_ended(bake, BakePhase.SUCCEEDED)
    assert ended.attempts == 1
