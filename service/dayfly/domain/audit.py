"""The audit: who asked for what, from where, and with which result. Values and rules.

An entry has no body, no header and no query of a request, and no text of an answer: secrets are in these.
Not here: when an entry is written (api/audit.py, store/db/audit_rows.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

READING_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SECRET_READS: Final = frozenset({"getKubeconfig", "getNodeSsh"})
"""Operations that only read, and answer with a secret."""
UNRECORDED: Final = frozenset({"sendHeartbeat"})
"""Operations of which only refusals are recorded: a caller sends heartbeats all the time."""
UNANSWERED: Final = "unanswered"
"""The code of a request that ended without an answer: its caller left, or the service was stopped."""
REFUSED_FROM: Final = 400


@dataclass(frozen=True)
class AuditTarget:
    """What a request is about. `kind`: `cluster`, `pool`, … A checkpoint's target is its cluster."""

    kind: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewAuditEntry:
    """A request and its result. `operation`: the operationId of openapi.json; None: no route has the path and method.

    `team` and `role`: None where the request proved no principal. `address`: the peer's, or `unix`.
    `status`: None where no answer was sent; then the code is UNANSWERED. `code`: of the problem.
    """

    principal: str
    team: str | None
    role: str | None
    address: str
    request_id: str
    operation: str | None
    target: AuditTarget | None
    status: int | None
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEntry(NewAuditEntry):
    """An entry on record."""

    id: int
    at: datetime


def is_recorded(method: str, operation: str | None, status: int | None) -> bool:
    """Whether a request with this answer is recorded: what changes something, or answers with a secret."""
    if operation in UNRECORDED:
        return status is None or status >= REFUSED_FROM
    return method not in READING_METHODS or operation in SECRET_READS
