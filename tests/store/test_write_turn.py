"""The turn to write on SQLite: callers' transactions precede workers', and workers' do not starve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.store import NewPool, PoolChange, Store
from dayfly.store.db.write_turn import MOST_OVERTAKING, WriteTurn
from tests.store.helpers import claim_new, move
from tests.support.specs import make_spec

GIVE_UP_SECONDS = 30


class Writers:
    """Tasks that queue behind a task with the turn; `had`: the order of turns."""

    def __init__(self) -> None:
        self.turn, self.leave, self.had = WriteTurn(), asyncio.Event(), list[str]()

    async def write(self, name: str) -> None:
        """`c…` is a caller's transaction, `w…` a worker's."""
        async with self.turn.turn(caller_waits=name.startswith("c")):
            self.had.append(name)
            await self.leave.wait()

    async def queue(self, *names: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.write(name)) for name in names]
        await asyncio.sleep(0)
        return tasks


@pytest.fixture
def writers() -> Writers:
    return Writers()


async def test_a_caller_goes_before_the_workers_that_wait(writers: Writers) -> None:
    tasks = await writers.queue("w1", "w2", "w3", "c1", "c2")
    assert writers.had == ["w1"], "one at a time"
    writers.leave.set()
    await asyncio.gather(*tasks)
    assert writers.had == ["w1", "c1", "c2", "w2", "w3"]


async def test_a_worker_has_its_turn_after_some_callers_although_more_wait(writers: Writers) -> None:
    callers = [f"c{number}" for number in range(2 * MOST_OVERTAKING)]
    tasks = await writers.queue("w1", "w2", *callers, "w3")
    writers.leave.set()
    await asyncio.gather(*tasks)
    half = MOST_OVERTAKING
    assert writers.had == ["w1", *callers[:half], "w2", *callers[half:], "w3"]


@pytest.mark.parametrize("when", ["while it waits", "as its turn comes"])
async def test_a_cancelled_writer_passes_the_turn_on(writers: Writers, when: str) -> None:
    writers.leave.set()
    async with writers.turn.turn(caller_waits=False):
        cancelled, last = await writers.queue("w1", "w2")
        if when == "while it waits":
            cancelled.cancel()
    # The turn has been given; the task that has it did not run yet.
    cancelled.cancel()
    await last
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    (after,) = await writers.queue("c1")
    await after
    assert writers.had == ["w2", "c1"]


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.pools.create(NewPool("cold", "default", make_spec(), 1, 1)),
        lambda store: store.pools.change("warm", PoolChange(size=0)),
        lambda store: store.pools.delete("warm"),
        lambda store: store.checkpoints.create("demo", "new"),
        lambda store: store.checkpoints.delete("demo", "old"),
        lambda store: store.lifecycle.delete("demo"),
    ],
    ids=["create a pool", "change a pool", "delete a pool", "create a checkpoint", "delete a checkpoint", "delete"],
)
async def test_requests_are_callers_transactions(sqlite_url: str, write: Callable[[Store], Awaitable[object]]) -> None:
    store, had = await Store.open(sqlite_url), list[str]()
    turn = store._database._write_turn
    assert turn is not None

    async def worker() -> None:
        async with store._database.write():
            had.append("worker")

    async def caller() -> None:
        await write(store)
        had.append("caller")

    try:
        await store.pools.create(NewPool("warm", "default", make_spec(), 1, 1))
        claim = await claim_new(store, "demo")
        await move(store, claim, Phase.PROVISIONING, Phase.READY)
        await store.checkpoints.create("demo", "old")
        async with asyncio.timeout(GIVE_UP_SECONDS), asyncio.TaskGroup() as group, turn.turn(caller_waits=False):
            group.create_task(worker())
            await asyncio.sleep(0)
            group.create_task(caller())
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(turn._workers) + len(turn._callers) == 2, "both wait for the turn"
    finally:
        await store.close()
    assert had == ["caller", "worker"]
