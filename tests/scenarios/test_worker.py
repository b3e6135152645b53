"""The claim loop where its database misbehaves."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.clock import SystemClock
from dayfly.errors import DatabaseUnavailable
from dayfly.reconcile.worker import Worker, WorkerOptions
from dayfly.store import Claim, Store

OPTIONS = WorkerOptions("worker", concurrency=1, lease_seconds=0.6, poll_seconds=5)


class Nothing:
    """A reconciler that is never asked."""

    async def reconcile(self, claim: Claim) -> float | None:
        raise AssertionError("nothing was to be reconciled")


async def test_a_worker_ends_even_if_the_database_fails_just_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def claim(owner: str, *, lease_seconds: float, limit: int) -> tuple[Claim, ...]:
        asked.set()
        await answer.wait()
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(store, "claim", claim)
    running = asyncio.create_task(Worker(store, Nothing(), OPTIONS, SystemClock()).run())
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
