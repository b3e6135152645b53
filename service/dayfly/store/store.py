"""The store's public face: opening, closing, watching; its two halves are clusters.py and leases.py."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import select

from dayfly.clock import Clock, SystemClock
from dayfly.concurrency import whole
from dayfly.store.clusters import Clusters
from dayfly.store.database import Database
from dayfly.store.leases import Leases
from dayfly.store.tables import DatabaseNow
from dayfly.store.wakeups import Watch


class Store(Clusters, Leases):
    """All that Dayfly knows. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, url: str, *, clock: Clock | None = None) -> Store:
        """Connect, bring the schema up to date, and be ready.

        `sqlite+aiosqlite:///path` (folder and file are made, modes 0700 and 0600) or `postgresql+asyncpg://…`.
        Raises InvalidRequest for any other URL. Close it in the event loop that opened it.
        """
        return cls(await Database.open(url, clock or SystemClock()))

    async def close(self) -> None:
        """Give all connections back. May be called again."""
        await self._database.close()

    @whole
    async def ping(self) -> None:
        """One round trip."""
        async with self._database.read() as connection:
            await connection.execute(select(DatabaseNow()))

    async def changed(self, cluster_id: str | None = None, *, timeout: float) -> bool:
        """Wait until something of a cluster (None: of any) is committed; False after `timeout` seconds.

        Misses what was committed before the call: use `watch` where a change between a look and the wait must count.
        """
        with self.watch(cluster_id) as watch:
            return await watch.wait(timeout)

    def watch(self, cluster_id: str | None = None) -> AbstractContextManager[Watch]:
        """`with store.watch(id) as watch:` look, then `await watch.wait(timeout)`: no commit in between is lost.

        Seen are commits through this store and, on PostgreSQL, those of every other process; on SQLite,
        other processes are not seen, so poll now and then.
        """
        return self._database.wakeups.watch(cluster_id)
