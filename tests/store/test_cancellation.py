"""Cancellation in the middle of a write: the next write does not wait for a leaked lock."""

from __future__ import annotations

import asyncio
import random

from dayfly.domain.cluster.model import Event, NewEvent
from dayfly.store import NewCluster, Store
from dayfly.store.db.database import StorePart
from tests.store.helpers import admit_all
from tests.support.specs import make_spec


async def test_cancelled_writers_leave_no_lock_and_no_half_write(store: Store) -> None:
    cluster, _ = await store.clusters.create(NewCluster("demo", make_spec()))
    await admit_all(store)
    (claim,) = await store.leases.claim("worker", lease_seconds=600, limit=1)
    chance = random.Random(7)  # noqa: S311 - any moment will do

    async def write_for_ever() -> None:
        while True:
            await store.status.append_event(claim, NewEvent("noise", "noise"))

    for _ in range(40):
        writer = asyncio.create_task(write_for_ever())
        await asyncio.sleep(chance.random() * 0.005)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        async with asyncio.timeout(5):
            await store.status.append_event(claim, NewEvent("after", "after"))
    after = [event for event in await _all_events(store, cluster.id) if event.type == "after"]
    assert len(after) == 40


async def test_a_public_coroutine_of_a_part_completes_although_its_caller_is_cancelled(store: Store) -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Part(StorePart):
        async def act(self) -> None:
            begun.set()
            await may_end.wait()
            ended.set()

    caller = asyncio.create_task(Part(store._database).act())
    await begun.wait()
    caller.cancel()
    may_end.set()
    (result,) = await asyncio.gather(caller, return_exceptions=True)
    assert ended.is_set()
    assert isinstance(result, asyncio.CancelledError)


async def _all_events(store: Store, cluster_id: str) -> list[Event]:
    found: list[Event] = []
    while page := await store.clusters.events(cluster_id, after=found[-1].id if found else 0):
        found += page
    return found
