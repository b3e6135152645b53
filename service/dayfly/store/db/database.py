"""Connections and transactions, on SQLite and on PostgreSQL. Not here: tables (tables.py), migrations (migrate.py).

`read` only reads. `write` is a transaction: the database gives it the time, and its commit notifies the watchers of
the topics that it names. On SQLite a transaction takes the write lock at its beginning (BEGIN IMMEDIATE), so that it
never fails half-way for having read first; writers queue within the process that has the file (sqlite_file.py), those
of callers first (write_turn.py). Errors never show a statement's parameters, because some are secrets.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import URL, Connection, CursorResult, Executable, Row, event, make_url, select
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from dayfly.concurrency import uncancellable
from dayfly.domain.audit import AuditTarget
from dayfly.domain.security.envelope import Place, Sealed
from dayfly.errors import InvalidRequest
from dayfly.store.db.audit_rows import insert_accepted, note_commit
from dayfly.store.db.event_rows import insert_events
from dayfly.store.db.migrate import current_revisions, migrate
from dayfly.store.db.secret_keys import KeySource, SecretKeys
from dayfly.store.db.sqlite_erase import erase_former, truncate_log
from dayfly.store.db.sqlite_file import open_sqlite_file, require_sqlite_file
from dayfly.store.db.types import DatabaseNow
from dayfly.store.db.webhook_messages import insert_deliveries
from dayfly.store.db.write_turn import WriteTurn
from dayfly.store.driver_errors import translated
from dayfly.store.notify.commit_notifier import WEBHOOKS, CommitNotifier
from dayfly.store.notify.postgresql_listen import PostgresqlListener

TRANSACTION_SECONDS: Final = 30.0
"""Dayfly's transactions take less than a second: after this time the database counts as unavailable."""
MIGRATION_SECONDS: Final = 300.0

_BUSY_MILLISECONDS: Final = 10_000
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_WRITE: Final = "dayfly_write"
_NOW: Final = select(DatabaseNow())
_POSTGRESQL_SETTINGS: Final = {
    "application_name": "dayfly",
    "statement_timeout": "15s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",
}


@dataclass(frozen=True)
class Transaction:
    """A write transaction. `now` is the database's clock at its begin, on SQLite after the write lock was taken."""

    connection: AsyncConnection
    now: datetime
    topics: set[str] = field(default_factory=set)
    own_topics: set[str] = field(default_factory=set)
    events: list[dict[str, object]] = field(default_factory=list)
    """Rows of `events`, which are inserted just before the commit (event_rows.py)."""
    targets: list[AuditTarget] = field(default_factory=list)
    """What the caller's request is about that this transaction carries out; the last counts."""
    secret_keys: SecretKeys = field(default_factory=SecretKeys)

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def seal(self, text: str, place: Place) -> Sealed:
        """Encrypt a secret that this transaction writes. Raises SecretsKeyMissing."""
        return await self.secret_keys.seal(self.connection, text, place)

    def concerns(self, kind: str, target_id: str | None, name: str | None = None) -> None:
        """This transaction carries a caller's request about a `kind` (`cluster`, `pool`, …) out (audit_rows.py)."""
        self.targets.append(AuditTarget(kind, target_id, name))

    def wake(self, *topics: str) -> None:
        """On commit, wake the watches of `topics`. A cluster's id is the topic of all its changes."""
        self.topics.update(topics)

    def wake_here(self, *topics: str) -> None:
        """As `wake`, for watches of this store only."""
        self.own_topics.update(topics)


class Database:
    def __init__(
        self,
        engine: AsyncEngine,
        notifier: CommitNotifier,
        secret_keys: SecretKeys,
        *,
        listener: PostgresqlListener | None = None,
        file_lock: int | None = None,
    ) -> None:
        self.notifier, self.secret_keys = notifier, secret_keys
        self._engine = engine
        self._listener = listener
        self._file_lock = file_lock
        sqlite = engine.dialect.name == "sqlite"
        # On PostgreSQL, begin and commit take longer than most reads.
        self._reading = engine if sqlite else engine.execution_options(isolation_level="AUTOCOMMIT")
        # SQLite's own writers poll for the write lock, with pauses of up to a tenth of a second.
        self._write_turn = WriteTurn() if sqlite else None

    @classmethod
    async def open(
        cls, url: str, keys: KeySource | None = None, *, migrating: bool = True, beside: bool = False
    ) -> Database:
        """See Store.open."""
        address, notifier, secret_keys = _parse(url), CommitNotifier(), SecretKeys(keys)
        async with translated(TRANSACTION_SECONDS):
            if address.get_backend_name() == "sqlite":
                file = Path(str(address.database))
                if beside:
                    require_sqlite_file(file)
                file_lock = None if beside else open_sqlite_file(file)
                database = cls(_sqlite_engine(address), notifier, secret_keys, file_lock=file_lock)
            else:
                listener = PostgresqlListener(address, notifier)
                notifier.heard = listener.heard
                database = cls(_postgresql_engine(address), notifier, secret_keys, listener=listener)
        try:
            await (database._prepare() if migrating and not beside else database._look())
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close all connections. May be called again."""
        if self._listener is not None:
            await self._listener.close()
        await self._engine.dispose()
        file_lock, self._file_lock = self._file_lock, None
        if file_lock is not None:
            os.close(file_lock)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reads, without a transaction: each statement sees all commits so far."""
        async with translated(TRANSACTION_SECONDS), self._reading.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(
        self, seconds: float = TRANSACTION_SECONDS, *, caller_waits: bool = False
    ) -> AsyncIterator[Transaction]:
        """A transaction: commits at the end of the block, rolls back if the block raises.

        `caller_waits`: a request waits for it; on SQLite it goes before the transactions of workers.
        """
        topics: set[str] = set()
        own_topics: set[str] = set()
        try:
            async with (
                translated(seconds),
                self._turn(caller_waits=caller_waits),
                self._engine.connect() as plain,
            ):
                connection = await plain.execution_options(**{_WRITE: True})
                async with connection.begin():
                    now = (await connection.execute(_NOW)).scalar_one()
                    transaction = Transaction(connection, now, topics, own_topics, secret_keys=self.secret_keys)
                    yield transaction
                    entry = None
                    if transaction.targets:
                        entry = await insert_accepted(connection, now, transaction.targets[-1])
                    if transaction.events:
                        if await insert_deliveries(connection, transaction.events):
                            transaction.wake(WEBHOOKS)
                        await insert_events(connection, transaction.events)
                    if topics and self._listener is not None:
                        # Within the transaction: PostgreSQL sends the notification if and only if it commits.
                        await self._listener.notify(connection, topics)
                if entry is not None:
                    note_commit(entry)
        finally:
            # On errors, too: the commit may have succeeded although its response was lost.
            for topic in topics | own_topics:
                self.notifier.wake(topic)

    def _turn(self, *, caller_waits: bool) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._write_turn is None else self._write_turn.turn(caller_waits=caller_waits)

    async def erase_deleted(self) -> bool:
        """Remove what was deleted from SQLite's log, too; whether it is done: readers may still need the log.

        In the file itself, deleted rows are overwritten (secure_delete). On PostgreSQL, which keeps both until its own
        vacuum and the end of its log's retention: nothing.
        """
        if self._engine.dialect.name != "sqlite":
            return True
        async with translated(TRANSACTION_SECONDS), self._turn(caller_waits=False), self._engine.connect() as plain:
            return await truncate_log(plain)

    async def _prepare(self) -> None:
        async with translated(MIGRATION_SECONDS):
            sqlite = self._engine.dialect.name == "sqlite"
            if sqlite:
                async with self._engine.connect() as plain:
                    connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
                    # In WAL mode readers and the writer do not block each other. The mode persists in the file.
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            async with self._engine.connect() as plain:
                connection = await plain.execution_options(**{_WRITE: True})
                async with connection.begin():
                    await migrate(connection, self.secret_keys, seconds=MIGRATION_SECONDS)
            if sqlite:
                async with self._engine.connect() as plain:
                    await erase_former(plain)
        if self._listener is not None:
            await self._listener.connect()

    async def _look(self) -> None:
        """Fails where the database cannot be read."""
        async with self.read() as connection:
            await connection.run_sync(current_revisions)
            await self.secret_keys.prepare(connection, make=False)


class StorePart:
    """A part of the store, with queries of its own. Every public method may raise DatabaseUnavailable.

    Every public coroutine is uncancellable: a cancelled statement leaves its connection in an unknown state.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def __init_subclass__(cls) -> None:
        for name, method in tuple(vars(cls).items()):
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                setattr(cls, name, uncancellable(method))

    async def _rows(self, query: Executable, parameters: Any = None) -> Sequence[Row[Any]]:
        async with self._database.read() as connection:
            return (await connection.execute(query, parameters)).all()

    async def _row(self, query: Executable, parameters: Any = None) -> Row[Any] | None:
        """The only row of a query in a read of its own; None: it has no row."""
        async with self._database.read() as connection:
            return (await connection.execute(query, parameters)).one_or_none()


def _parse(url: str) -> URL:
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # No URL in the message, and no cause: the URL may contain a password.
        raise InvalidRequest("the database URL cannot be parsed") from None
    backend = address.get_backend_name()
    if backend not in _DRIVERS:
        raise InvalidRequest(f"database {backend} is not supported: use sqlite+aiosqlite or postgresql+asyncpg")
    if backend == "sqlite" and address.database in (None, "", ":memory:"):
        raise InvalidRequest("a SQLite database needs a file: sqlite+aiosqlite:///path")
    return address.set(drivername=_DRIVERS[backend])


def _sqlite_engine(address: URL) -> AsyncEngine:
    engine = create_async_engine(
        address, pool_size=8, max_overflow=0, pool_timeout=TRANSACTION_SECONDS, hide_parameters=True
    )

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # `begun` begins transactions
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        # What is deleted is overwritten with zeros.
        cursor.execute("PRAGMA secure_delete = ON")
        # In WAL mode a crash of the process loses nothing; a crash of the host may lose the last commits.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(_WRITE):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(address: URL) -> AsyncEngine:
    engine = create_async_engine(
        address,
        pool_size=10,
        max_overflow=10,
        pool_timeout=TRANSACTION_SECONDS,
        hide_parameters=True,
        connect_args={"timeout": 10.0, "server_settings": _POSTGRESQL_SETTINGS},
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def checked_out(connection: Any, _: ConnectionPoolEntry, __: object) -> None:
        # One round trip; SQLAlchemy's own ping takes three, because it begins a transaction.
        try:
            connection.run_async(lambda driver: driver.fetchrow(";"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise DisconnectionError("the server closed this connection") from error

    return engine
