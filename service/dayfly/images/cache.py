"""The cache of bakes: one folder for each result of a phase, named by content key.

A folder is written under a temporary name and renamed when it is complete. A lock file per folder keeps two bakes from
building the folder twice, and a pruning bake from removing a folder in use. The kernel releases the lock when its
process ends, however it ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from dayfly.clock import Clock
from dayfly.errors import BakeFailed

_KEEP: Final = 2
_LOCK_POLL_SECONDS: Final = 0.5
_TEMPORARY: Final = ".new-"

Make = Callable[[Path], Awaitable[None]]


class Cache:
    """The folder `root`, for one bake. The folders that the bake got stay locked until the bake ends."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock
        self._held: list[int] = []

    async def __aenter__(self) -> Cache:
        # The root file systems have setuid programs: no other user may reach them.
        try:
            (self._root / "locks").mkdir(parents=True, exist_ok=True)
            self._root.chmod(0o700)
        except OSError as error:
            raise BakeFailed(
                f"the cache {self._root} cannot be used ({error.strerror}): set DAYFLY_CACHE_DIR to another folder"
            ) from error
        await asyncio.to_thread(self._remove_leftovers)
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._held:
            os.close(self._held.pop())

    @property
    def root(self) -> Path:
        return self._root

    async def get(self, name: str, key: str, make: Make, on_wait: Callable[[], None] | None = None) -> Path:
        """The folder of phase `name` with `key`; a missing folder is built by `make(empty folder)`.

        `on_wait` is called once when another bake is building the folder. A failed `make` leaves no folder.
        """
        entry = self._root / f"{name}-{key[:32]}"
        lock = self._open_lock(entry.name)
        try:
            # A shared lock allows use, an exclusive lock creation and removal. Another bake may remove the folder
            # between the two locks: so check again.
            await self._acquire(lock, fcntl.LOCK_SH, on_wait)
            while not _touch(entry):
                fcntl.flock(lock, fcntl.LOCK_UN)
                await self._acquire(lock, fcntl.LOCK_EX, on_wait)
                if not _touch(entry):
                    await self._make(entry, make)
                fcntl.flock(lock, fcntl.LOCK_UN)
                await self._acquire(lock, fcntl.LOCK_SH, on_wait)
        except BaseException:
            os.close(lock)
            raise
        self._held.append(lock)
        await asyncio.to_thread(self._prune, name)
        return entry

    @asynccontextmanager
    async def alone(self, name: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        """An exclusive lock on `name` for the block; `on_wait` is called once when another bake holds it."""
        with self._lock_file(name) as lock:
            await self._acquire(lock, fcntl.LOCK_EX, on_wait)
            yield

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        """An empty folder on the cache's file system, gone at the end."""
        with self._lock_file("scratch") as lock:
            # Shared: any number of bakes may have a scratch folder. Removing leftovers needs the lock exclusively.
            await self._acquire(lock, fcntl.LOCK_SH, None)
            folder = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}scratch.", dir=self._root))
            try:
                yield folder
            finally:
                shutil.rmtree(folder)

    def has(self, name: str, key: str) -> bool:
        return (self._root / f"{name}-{key[:32]}").exists()

    async def _make(self, entry: Path, make: Make) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{entry.name}.", dir=self._root))
        try:
            await make(temporary)
        except BaseException:
            # Not in a thread: a cancelled bake must clean up before it ends.
            shutil.rmtree(temporary)
            raise
        _rename(temporary, entry)

    async def _acquire(self, lock: int, how: int, on_wait: Callable[[], None] | None) -> None:
        waited = False
        while not _try_lock(lock, how):
            if not waited and on_wait is not None:
                on_wait()
            waited = True
            await self._clock.sleep(_LOCK_POLL_SECONDS)

    def _remove_leftovers(self) -> None:
        for leftover in self._root.glob(f"{_TEMPORARY}*"):
            name = leftover.name.removeprefix(_TEMPORARY).rpartition(".")[0]
            self._remove_unlocked(name, leftover)

    def _prune(self, name: str) -> None:
        versions = [path for path in self._root.glob(f"{name}-*") if path.name[len(name) + 1 :].isalnum()]
        newest_first = sorted(versions, key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest_first[_KEEP:]:
            self._remove_unlocked(old.name, old)

    def _remove_unlocked(self, name: str, folder: Path) -> None:
        with self._lock_file(name) as lock:
            if _try_lock(lock, fcntl.LOCK_EX):
                with suppress(FileNotFoundError):  # Another bake removed it first.
                    shutil.rmtree(folder)

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[int]:
        """A lock file's descriptor; the end of the block releases its lock."""
        lock = self._open_lock(name)
        try:
            yield lock
        finally:
            os.close(lock)

    def _open_lock(self, name: str) -> int:
        # Lock files are never removed: a lock on a replaced file would protect nothing.
        return os.open(self._root / "locks" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _touch(entry: Path) -> bool:
    """Whether `entry` exists; if so, it becomes the most recently used of its phase."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return False
    return True


def _rename(temporary: Path, entry: Path) -> None:
    temporary.rename(entry)


def _try_lock(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
