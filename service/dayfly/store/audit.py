"""The audit log: entries of requests that change nothing, and queries. Entries are never changed.

Not here: entries of requests that change something, which their own transactions insert (db/audit_rows.py); the removal
of old entries (maintenance.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, or_, select

from dayfly.domain.audit import AuditEntry, AuditTarget, NewAuditEntry
from dayfly.store.db.accounting_tables import audit
from dayfly.store.db.audit_rows import insert_entry
from dayfly.store.db.database import StorePart

_ENTRY: Final = audit.c
_NEWEST: Final = select(func.coalesce(func.max(_ENTRY.id), 0))


@dataclass(frozen=True)
class AuditFilter:
    """Which entries; None: any. `until` is excluded. `target`: an id or a name.

    `team`: the team of the principal, not of the target.
    """

    team: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    principal: str | None = None
    operation: str | None = None
    target: str | None = None


class AuditLog(StorePart):
    async def append(self, entry: NewAuditEntry) -> None:
        """Record a request that no transaction of its own has recorded."""
        async with self._database.write(caller_waits=True) as transaction:
            await insert_entry(transaction.connection, transaction.now, entry)

    async def newest(self) -> int:
        """The id of the newest entry; 0: no entry is on record."""
        async with self._database.read() as connection:
            return int((await connection.execute(_NEWEST)).scalar_one())

    async def page(self, which: AuditFilter, *, before: int | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Up to `limit` entries with an id less than `before`, newest first."""
        query = select(audit).where(*_conditions(which)).order_by(_ENTRY.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_ENTRY.id < before)
        return tuple(map(_entry_from, await self._rows(query)))

    async def next(
        self, which: AuditFilter, *, after: int, until: int, limit: int = 500
    ) -> tuple[tuple[AuditEntry, ...], int]:
        """Up to `limit` entries with an id greater than `after` and up to `until`, oldest first."""
        between = (_ENTRY.id > after, _ENTRY.id <= until)
        query = select(audit).where(*between, *_conditions(which)).order_by(_ENTRY.id).limit(limit)
        found = tuple(map(_entry_from, await self._rows(query)))
        return found, found[-1].id if len(found) == limit else until


def _conditions(which: AuditFilter) -> list[ColumnElement[bool]]:
    same = ((name, getattr(which, name)) for name in ("team", "principal", "operation"))
    found: list[ColumnElement[bool]] = [_ENTRY[name] == wanted for name, wanted in same if wanted is not None]
    if which.since is not None:
        found.append(_ENTRY.at >= which.since)
    if which.until is not None:
        found.append(_ENTRY.at < which.until)
    if which.target is not None:
        found.append(or_(_ENTRY.target_id == which.target, _ENTRY.target_name == which.target))
    return found


def _entry_from(row: Row[Any]) -> AuditEntry:
    columns = row._asdict()
    kind, target_id, name = (columns.pop(f"target_{part}") for part in ("kind", "id", "name"))
    return AuditEntry(**columns, target=None if kind is None else AuditTarget(kind, target_id, name))
