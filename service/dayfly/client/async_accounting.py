"""Requests of the asynchronous client about usage of resources and the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, TypedDict, Unpack

from dayfly.client import transport as wire
from dayfly.client.async_connection import AsyncConnection
from dayfly.schemas.accounting import AuditEntry, AuditList, UsageList

_PAGE: Final = 1000
_USAGE: Final = "/v1/usage"
_AUDIT: Final = "/v1/audit"
_SECONDS: Final = 300.0
"""A report of a year takes the server longer than other requests."""


class AuditOptions(TypedDict, total=False):
    """Which entries of the audit log; what is left out is any. `target`: an id or a name."""

    since: datetime | None
    until: datetime | None
    team: str | None
    principal: str | None
    operation: str | None
    target: str | None


class AsyncAccounting(AsyncConnection):
    """What was used, and who asked for it."""

    async def usage(
        self,
        by: Sequence[str] = (),
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        team: str | None = None,
    ) -> UsageList:
        """Usage by `team`, `principal`, `day` and `label:KEY`, since a time (default: 30 days ago)."""
        query = {"by": by, "team": team, "limit": _PAGE, **_period(since, until)}
        found = await self._read(UsageList, "GET", _USAGE, query=query, hold_seconds=_SECONDS)
        rows, cursor = found.usage, found.next_cursor
        while cursor is not None:
            # The first page's period: usage goes on meanwhile.
            same = {**query, **_period(found.since, found.until), "cursor": cursor}
            page = await self._read(UsageList, "GET", _USAGE, query=same, hold_seconds=_SECONDS)
            rows, cursor = rows + page.usage, page.next_cursor
        return found.model_copy(update={"usage": rows, "next_cursor": None})

    async def usage_csv(
        self,
        by: Sequence[str] = (),
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        team: str | None = None,
    ) -> str:
        """As usage(), as CSV with a header."""
        query = {"by": by, "team": team, "format": "csv", **_period(since, until)}
        return (await self._send("GET", _USAGE, query=query, hold_seconds=_SECONDS)).text

    async def audit(self, *, limit: int = 100, **which: Unpack[AuditOptions]) -> tuple[AuditEntry, ...]:
        """The last `limit` entries of the audit log, newest first."""
        found: tuple[AuditEntry, ...] = ()
        cursor: str | None = None
        while len(found) < limit:
            query = {**_filter(which), "limit": min(limit - len(found), _PAGE), "cursor": cursor}
            page = await self._read(AuditList, "GET", _AUDIT, query=query)
            found += page.entries
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    async def audit_lines(self, **which: Unpack[AuditOptions]) -> AsyncIterator[str]:
        """The whole audit log as JSON lines, oldest first, in pieces of any length. Raises Unreachable if it breaks."""
        with wire.transport_errors(self._http.base_url):
            query = wire.given({**_filter(which), "format": "jsonl"})
            async with self._http.stream("GET", _AUDIT, params=query, timeout=_SECONDS) as response:
                if not response.is_success:
                    await response.aread()
                    raise wire.api_error(response)
                wire.as_text(response)
                async for text in response.aiter_text():
                    yield text


def _filter(which: AuditOptions) -> dict[str, str | None]:
    return {
        "team": which.get("team"),
        "principal": which.get("principal"),
        "operation": which.get("operation"),
        "target": which.get("target"),
        **_period(which.get("since"), which.get("until")),
    }


def _period(since: datetime | None, until: datetime | None) -> dict[str, str | None]:
    return {
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
