"""Inserts audit entries: in the transaction that carries a caller's request out, or in one of their own.

The API makes each request that may change something the current AuditedRequest of its task. The store's part that
carries it out names the target (Transaction.concerns), and the entry is inserted before the commit: a change without
its entry cannot be committed. Not here: entries of requests that change nothing (api/audit.py), queries
(store/audit.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain.audit import AuditTarget, NewAuditEntry
from dayfly.store.db.accounting_tables import audit

_INSERT: Final = insert(audit)


@dataclass
class AuditedRequest:
    """A request whose changes are recorded as they are made.

    `accepted`: the entry of the request as it is when it is carried out, with the status that then is expected; None:
    such requests are not recorded. `committed`: the entry that a commit has recorded.
    """

    accepted: Callable[[AuditTarget], NewAuditEntry | None]
    committed: NewAuditEntry | None = None


audited_request: ContextVar[AuditedRequest | None] = ContextVar("audited_request", default=None)
"""The caller's request that the current task carries out."""


async def insert_entry(connection: AsyncConnection, now: datetime, entry: NewAuditEntry) -> None:
    target = entry.target
    await connection.execute(
        _INSERT,
        {
            "at": now,
            "principal": entry.principal,
            "team": entry.team,
            "role": entry.role,
            "address": entry.address,
            "request_id": entry.request_id,
            "operation": entry.operation,
            "target_kind": target and target.kind,
            "target_id": target and target.id,
            "target_name": target and target.name,
            "status": entry.status,
            "code": entry.code,
        },
    )


async def insert_accepted(connection: AsyncConnection, now: datetime, target: AuditTarget) -> NewAuditEntry | None:
    """Insert the entry of the current request, if there is one; the entry."""
    request = audited_request.get()
    entry = None if request is None or request.committed is not None else request.accepted(target)
    if entry is not None:
        await insert_entry(connection, now, entry)
    return entry


def note_commit(entry: NewAuditEntry) -> None:
    """The transaction with `entry` was committed."""
    request = audited_request.get()
    if request is not None:
        request.committed = entry
