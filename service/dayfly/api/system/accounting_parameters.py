"""Parameters of usage and audit: periods, and whose rows a caller sees."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Query
from pydantic import AwareDatetime, BeforeValidator

from dayfly.domain.security.principal import Principal, Role

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


def _no_number(given: object) -> object:
    """A time as RFC 3339 writes it: pydantic would take a number for seconds since 1970."""
    if isinstance(given, str) and not re.match(r"\d{4}-\d{2}-\d{2}", given):
        raise ValueError("write a time as 2026-01-31T12:00:00Z")
    return given


_Moment = Annotated[AwareDatetime, BeforeValidator(_no_number)]
Since = Annotated[_Moment | None, Query(description="The begin of the period, with its offset from UTC.")]
Until = Annotated[_Moment | None, Query(description="The end of the period, which is not part of it.")]


def storable(time: datetime) -> datetime:
    """`time`, or the nearest time that every database can keep."""
    return min(max(time, _FIRST), _LAST)


def visible_team(caller: Principal, wanted: str | None) -> tuple[str | None, bool]:
    """The team whose rows the caller sees (None: all teams), and whether there can be any."""
    if caller.role is Role.OPERATOR:
        return wanted, True
    return caller.team, wanted in {None, caller.team}
