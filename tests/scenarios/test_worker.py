"""The claim loop under database errors."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dayfly.clock import SystemClock
from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.cluster.outcome import Done, Outcome
from dayfly.controllers.cluster.worker import Worker, WorkerOptions
from dayfly.errors import DatabaseUnavailable
from dayfly.store import Claim, NewCluster, Store
from tests.support.clock import FakeClock
from tests.support.specs import make_spec

OPTIONS = WorkerOptions("worker", concurrency=1, lease_seconds=0.6, poll_seconds=5)


async def never(claim: Claim) -> Outcome:
    """Must not be called."""
    raise AssertionError("nothing was to be reconciled")


async def test_a_worker_ends_even_if_the_database_fails_just_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def claim(owner: str, *, lease_seconds: float, limit: int) -> tuple[Claim, ...]:
        asked.set()
        await answer.wait()
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(store.leases, "claim", claim)
    running = asyncio.create_task(Worker(store, never, OPTIONS, Outages(store), SystemClock()).run())
    async with asyncio.timeout(5):
        await asked.wait()
    running.cancel()
    await asyncio.sleep(0)
    answer.set()
    # Not awaited under a time limit: the limit would cancel it a second time.
    ended, _ = await asyncio.wait({running}, timeout=5)
    if not ended:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert ended


async def nothing_to_do(claim: Claim) -> Outcome:
    return Done()


async def test_a_lease_is_given_back_as_soon_as_the_database_answers_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (admitted,) = await admitted_cluster(store)
    released = asyncio.Event()
    release, failures = store.leases.release, [DatabaseUnavailable("gone")] * 3

    async def unsteady(claim: Claim, *, due_in_seconds: float | None) -> None:
        if failures:
            raise failures.pop()
        await release(claim, due_in_seconds=due_in_seconds)
        released.set()

    monkeypatch.setattr(store.leases, "release", unsteady)
    clock = FakeClock()
    options = replace(OPTIONS, lease_seconds=30)
    running = asyncio.create_task(Worker(store, nothing_to_do, options, Outages(store), clock).run())
    async with asyncio.timeout(10):
        await released.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(clock.slept) == 3
    await store.maintenance.requeue([admitted])
    assert [claim.cluster.id for claim in await store.leases.claim("next", lease_seconds=60, limit=1)] == [admitted]


async def admitted_cluster(store: Store) -> tuple[str, ...]:
    await store.clusters.create(NewCluster("demo", make_spec()))
    return await store.admission.admit(lambda queue: queue.waiting)
