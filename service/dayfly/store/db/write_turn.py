"""The turn to write: SQLite has one writer, so transactions of this process queue here, callers' before workers'.

A caller waits for the response; the passes of a pool that refills do not hurry. A bounded number of callers'
transactions overtake a waiting worker's, so that leases are renewed under any load.
Not here: transactions (database.py). PostgreSQL locks rows and needs no turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

MOST_OVERTAKING: Final = 4
"""Callers' transactions in a row while a worker's waits; then one of the workers' has the turn."""


class WriteTurn:
    """A lock with two queues, each in the order of arrival."""

    def __init__(self) -> None:
        self._taken = False
        self._callers: deque[asyncio.Future[None]] = deque()
        self._workers: deque[asyncio.Future[None]] = deque()
        self._overtaking = 0

    @asynccontextmanager
    async def turn(self, *, caller_waits: bool) -> AsyncIterator[None]:
        """The turn, until the block ends."""
        await self._take(self._callers if caller_waits else self._workers)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, queue: deque[asyncio.Future[None]]) -> None:
        if not self._taken:
            self._taken = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self._pass_on()  # The turn came at the same moment.
            raise

    def _pass_on(self) -> None:
        """Give the turn to the next that still waits."""
        while queue := self._next_queue():
            first = queue.popleft()
            if not first.done():
                first.set_result(None)
                self._overtaking = self._overtaking + 1 if queue is self._callers and self._workers else 0
                return
        self._taken = False

    def _next_queue(self) -> deque[asyncio.Future[None]]:
        overtaken = bool(self._workers) and self._overtaking >= MOST_OVERTAKING
        return self._callers if self._callers and not overtaken else self._workers
