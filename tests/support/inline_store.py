"""A store on SQLite in memory, in virtual time, for thousands of clusters: its SQL without its connections.

One connection, without threads, pools and locks: each transaction happens at one instant, as it appears to others on a
real database. Not here: connections (dayfly.store.db.database and its own tests).
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, CursorResult, Dialect, create_engine, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import StaticPool

from dayfly.store import Store
from dayfly.store.db.database import Database, Transaction
from dayfly.store.db.event_rows import insert_events
from dayfly.store.db.secret_keys import SecretKeys, secret_keys
from dayfly.store.db.tables import metadata
from dayfly.store.db.webhook_messages import insert_deliveries
from dayfly.store.notify.commit_notifier import WEBHOOKS, CommitNotifier
from tests.support.databases import KEY, KEYS
from tests.support.virtual_time import running_loop, virtual_boot_time

_TRANSACTION_SECONDS: Final = 0.001
"""The duration of a transaction: each has its own millisecond, the resolution of SQLite's clock."""


@contextmanager
def inline_store() -> Iterator[Store]:
    """Use it in a VirtualLoop."""
    engine = create_engine("sqlite://", poolclass=StaticPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.execute("PRAGMA foreign_keys = ON")
        raw.create_function("strftime", 2, _strftime)
        metadata.create_all(connection)
        connection.execute(insert(secret_keys).values(id=KEY.id, created_at=datetime.now(UTC), in_force=True))
        yield Store(cast("Database", _InlineDatabase(connection, raw)), virtual_boot_time)
    engine.dispose()


class _InlineDatabase:
    """The parts of Database that the store uses."""

    def __init__(self, connection: Connection, raw: sqlite3.Connection) -> None:
        self.notifier, self.secret_keys = CommitNotifier(), SecretKeys(KEYS)
        self._connection = cast("AsyncConnection", _InlineConnection(connection))
        self._raw = raw

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        yield self._connection

    @asynccontextmanager
    async def write(self, *, caller_waits: bool = False) -> AsyncIterator[Transaction]:
        running_loop().skip(_TRANSACTION_SECONDS)
        transaction = Transaction(self._connection, _now(), secret_keys=self.secret_keys)
        self._raw.execute("BEGIN")
        try:
            yield transaction
            if transaction.events:
                if await insert_deliveries(self._connection, transaction.events):
                    transaction.wake(WEBHOOKS)
                await insert_events(self._connection, transaction.events)
        except BaseException:
            self._raw.execute("ROLLBACK")
            raise
        self._raw.execute("COMMIT")
        for topic in transaction.topics:
            self.notifier.wake(topic)

    async def erase_deleted(self) -> bool:
        return True  # there is no file

    async def close(self) -> None:
        """The connection is closed by who opened it."""


class _InlineConnection:
    """A connection that is awaited, and has its answer already."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def dialect(self) -> Dialect:
        return self._connection.dialect

    async def execute(self, *statement: Any) -> CursorResult[Any]:
        return self._connection.execute(*statement)


def _now() -> datetime:
    """To the millisecond, as the database keeps it."""
    now = running_loop().now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _strftime(format_: str, moment: str) -> str:
    """Virtual time in place of SQLite's clock."""
    assert (format_, moment) == ("%Y-%m-%d %H:%M:%f", "now")
    return _now().replace(tzinfo=None).isoformat(" ", "milliseconds")
