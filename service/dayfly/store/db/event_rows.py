"""Inserts events, in the order of their commits: whoever reads up to an id has read all events below that id.

PostgreSQL gives out ids when rows are inserted, not when they become visible: without a lock, an event with a lower id
may appear after an event with a higher id was read. Transactions therefore collect their events and insert them as
their last statement, under one lock that lasts until the commit. The lock costs little: NOTIFY, which nearly all of
these transactions use, serialises their commits as well. Nobody waits for a row while holding the lock: the rows of
the events' clusters are locked already. A process that is suspended in between holds the lock until PostgreSQL ends its
idle transaction (database.py has the limit). On SQLite a transaction holds the only write lock from its beginning.
Releases before 0.3.0 do not take the lock, and cannot run beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.store.db import tables

_ADVISORY_LOCK: Final = 0x6461_7966_6C79_02
"""store/admission.py and db/migrate.py use other numbers."""

# Built once: to build a statement takes longer than SQLite needs to execute it.
_LOCK: Final = select(func.pg_advisory_xact_lock(_ADVISORY_LOCK))
_INSERT: Final = insert(tables.events)


async def insert_events(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert `rows` as the last statement before the commit of the connection's transaction."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_LOCK)
    await connection.execute(_INSERT, rows)
