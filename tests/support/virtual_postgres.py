"""A store on a real PostgreSQL server, in virtual time: the server's clock follows the event loop's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, cast

from dayfly.store import Store
from dayfly.store.db.database import Database
from tests.support.postgres import PostgresServer
from tests.support.virtual_time import VirtualLoop, virtual_boot_time

_CLOCK: Final = """
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.clock_timestamp() + make_interval(secs => pg_read_file('{file}')::double precision)
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
        plain = runner.run(Database.open(url))
        try:
            waiting[0] = 0
            yield runner, Store(cast("Database", _Counted(plain, waiting)), virtual_boot_time)
        finally:
            waiting[0] = 1
            runner.run(plain.close())


class _Counted:
    """A database that reports whether a task waits for it."""

    def __init__(self, database: Database, waiting: list[int]) -> None:
        self.notifier = database.notifier
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

    @contextmanager
    def _wait(self) -> Iterator[None]:
        self._waiting[0] += 1
        try:
            yield
        finally:
            self._waiting[0] -= 1


def _write(file: Path, seconds: float) -> None:
    file.write_text(f"{seconds:.6f}\n")
