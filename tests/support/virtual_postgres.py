"""A store on a real PostgreSQL server, in virtual time: the server's clock follows the event loop's, or the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from dayfly.clock import BootTime
from dayfly.store import Store
from dayfly.store.db.database import Database
from tests.support.databases import KEYS
from tests.support.postgres import PostgresServer
from tests.support.virtual_time import VirtualLoop, virtual_boot_time

_CLOCK: Final = """
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.clock_timestamp() + make_interval(secs => pg_read_file('{file}')::double precision)
$$;
ALTER DATABASE {database} SET search_path = public, pg_catalog;
"""

_SET_CLOCK: Final = """
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT timestamptz 'epoch' + pg_read_file('{file}')::bigint * interval '1 millisecond'
$$;
ALTER DATABASE {database} SET search_path = public, pg_catalog;
"""


@contextmanager
def virtual_postgres(server: PostgresServer) -> Iterator[tuple[asyncio.Runner, Store]]:
    """The loop in which the store lives, and the store."""
    skipped = server.folder / "skipped"
    _write(skipped, 0.0)
    # At first, and in the end, the server is always waited for.
    waiting = [1]
    loop = VirtualLoop(real=True, busy=lambda: waiting[0] > 0, on_skip=lambda seconds: _write(skipped, seconds))
    with server.database() as url, asyncio.Runner(loop_factory=lambda: loop) as runner:
        name = url.partition("?")[0].rpartition("/")[2]
        server._run("psql", "--quiet", f"--dbname={name}", f"--command={_CLOCK.format(file=skipped, database=name)}")
        plain = runner.run(Database.open(url, KEYS))
        try:
            waiting[0] = 0
            yield runner, Store(cast("Database", _Counted(plain, waiting)), virtual_boot_time)
        finally:
            waiting[0] = 1
            runner.run(plain.close())


class _Counted:
    """A database that reports whether a task waits for it."""

    def __init__(self, database: Database, waiting: list[int]) -> None:
        self.notifier, self.secret_keys = database.notifier, database.secret_keys
        self._database, self._waiting = database, waiting

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        with self._wait():
            async with self._database.read() as connection:
                yield connection

    @asynccontextmanager
    async def write(self, *, caller_waits: bool = False) -> AsyncIterator[Any]:
        with self._wait():
            async with self._database.write(caller_waits=caller_waits) as transaction:
                yield transaction

    async def erase_deleted(self) -> bool:
        with self._wait():
            return await self._database.erase_deleted()

    @contextmanager
    def _wait(self) -> Iterator[None]:
        self._waiting[0] += 1
        try:
            yield
        finally:
            self._waiting[0] -= 1


def _write(file: Path, seconds: float) -> None:
    file.write_text(f"{seconds:.6f}\n")


@dataclass
class SetClock:
    """The clock of a PostgreSQL database, which stands still until the test lets time pass, or sets it."""

    file: Path
    _true_ms: int = 0
    _offset_ms: int = 1_767_225_600_000

    def true_ms(self) -> int:
        return self._true_ms

    def offset_ms(self) -> int:
        return self._offset_ms

    def pass_time(self, milliseconds: int) -> None:
        self._true_ms += milliseconds
        self.show()

    def set_clock(self, milliseconds: int) -> None:
        self._offset_ms += milliseconds
        self.show()

    def boot_time(self) -> BootTime:
        return BootTime("virtual", self._true_ms / 1000)

    def show(self) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(f"{self._true_ms + self._offset_ms}\n")
        written.rename(self.file)


@contextmanager
def postgres_with_set_clock(server: PostgresServer) -> Iterator[tuple[str, SetClock]]:
    """The URL of an empty database, and its clock."""
    clock = SetClock(server.folder / "set_clock")
    clock.show()
    with server.database() as url:
        name = url.partition("?")[0].rpartition("/")[2]
        command = _SET_CLOCK.format(file=clock.file, database=name)
        server._run("psql", "--quiet", f"--dbname={name}", f"--command={command}")
        yield url, clock
