"""Turns at writing to a SQLite file: in order within a process, and fairly among the processes that share it.

SQLite alone lets them poll for its one write lock, with pauses that grow to a tenth of a second, and whoever asks at
the right moment gets it: an API process beside busy workers was seen to wait for seconds. Here the kernel wakes the
next. This only orders those who wait; what protects the data is SQLite's own lock.
Not here: transactions (database.py).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Turns:
    """Two locked files: who has the turn holds one, who is next holds the other.

    With one alone a process that writes much would take turn after turn before the kernel has woken anybody. Locks of
    a process that dies are gone with it.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError. `folder` is made if it is missing."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._ours = asyncio.Lock()
        self._turn = _open(folder / "turn.lock")
        self._next = _open(folder / "next.lock")
        self._closed = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Ours within the block."""
        # A process holds the files' locks as a whole.
        async with self._ours:
            if not self._take_at_once():
                await self._wait()
            try:
                yield
            finally:
                self._give_back()

    def close(self) -> None:
        """May be called again."""
        if not self._closed:
            self._closed = True
            os.close(self._turn)
            os.close(self._next)

    def _take_at_once(self) -> bool:
        try:
            fcntl.flock(self._next, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False  # being next is ours, and stays so until the wait is over
        fcntl.flock(self._next, fcntl.LOCK_UN)
        return True

    async def _wait(self) -> None:
        waiting = asyncio.get_running_loop().run_in_executor(None, self._take)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            # A thread cannot be called back: what it gets in the end it must not keep.
            waiting.add_done_callback(lambda _: self._give_back())
            raise

    def _take(self) -> None:
        fcntl.flock(self._next, fcntl.LOCK_EX)
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        fcntl.flock(self._next, fcntl.LOCK_UN)

    def _give_back(self) -> None:
        if not self._closed:
            fcntl.flock(self._turn, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
