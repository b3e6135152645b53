"""GET /v1/audit: who did what to which, as pages of JSON or as JSON lines. Not here: what is recorded (audit.py)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.long_poll import HeldStream, StreamCut
from dayfly.api.media_types import JSON, prefers
from dayfly.api.principals import Caller
from dayfly.api.system.accounting_parameters import Since, Until, storable, visible_team
from dayfly.domain import audit as domain
from dayfly.schemas.accounting import AuditEntry, AuditList
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.store import AuditFilter

router: Final = APIRouter(prefix="/v1/audit", tags=["accounting"])

JSON_LINES: Final = "application/jsonl"
_PAGE: Final = 500


@router.get(
    "",
    operation_id="listAudit",
    response_model=AuditList,
    responses={
        200: {
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/AuditList"}},
                JSON_LINES: {"schema": {"type": "string", "description": "An entry as in JSON on each line."}},
            }
        }
    },
)
async def list_audit(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    since: Since = None,
    until: Until = None,
    team: Annotated[
        str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Requests of principals of this team.")
    ] = None,
    principal: Annotated[str | None, Query(max_length=255, description="Requests of this principal.")] = None,
    operation: Annotated[
        str | None, Query(pattern=r"^[A-Za-z]{1,64}$", description="Requests of this operationId.")
    ] = None,
    target: Annotated[
        str | None, Query(max_length=128, description="Requests about the object with this id or name.")
    ] = None,
    format: Annotated[Literal["json", "jsonl"] | None, Query(description="Goes before the Accept header.")] = None,  # noqa: A002
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries of one page of JSON; JSON lines have all.")] = 100,
    cursor: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,18}$", description="The `next_cursor` of the page before.")
    ] = None,
) -> AuditList | Response:
    """Requests that may have changed something or read a secret, refused ones too, newest first.

    As JSON lines, all of them, oldest first. A request that was carried out, and got another answer than that of
    success, has two entries with its `request_id`. Heartbeats are recorded only where they are refused. Entries are
    kept for a configured time; no request changes or deletes them.
    """
    visible, any_there = visible_team(caller, team)
    which = AuditFilter(
        team=visible,
        since=None if since is None else storable(since),
        until=None if until is None else storable(until),
        principal=_storable_text(principal),
        operation=operation,
        target=_storable_text(target),
    )
    if format == "jsonl" or (format is None and prefers(request, JSON_LINES)):
        newest = await services.store.audit.newest() if any_there else 0
        lines = _lines(services, which, newest)
        return HeldStream(request, services, services.streams, lines, JSON_LINES, {"Vary": "Accept"})
    response.headers["Vary"] = "Accept"
    if not any_there:
        return AuditList(entries=(), next_cursor=None)
    before = None if cursor is None else int(cursor)
    found = await services.store.audit.page(which, before=before, limit=limit + 1)
    more = len(found) > limit
    return AuditList(
        entries=tuple(map(_show, found[:limit])),
        next_cursor=str(found[limit - 1].id) if more else None,
    )


async def _lines(services: ApiServices, which: AuditFilter, until: int) -> AsyncGenerator[str | bytes]:
    last = 0
    while last < until:
        if services.closing.is_set():
            raise StreamCut
        found, last = await services.store.audit.next(which, after=last, until=until, limit=_PAGE)
        yield _json_lines(found)


def _json_lines(entries: Sequence[domain.AuditEntry]) -> str:
    return "".join(f"{_show(entry).model_dump_json()}\n" for entry in entries)


def _show(entry: domain.AuditEntry) -> AuditEntry:
    return AuditEntry.of(entry)


def _storable_text(text: str | None) -> str | None:
    """A text that databases can compare: nothing on record has other characters."""
    return None if text is None else text.encode(errors="replace").decode().replace("\0", "?")
