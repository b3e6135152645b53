"""GET /v1/usage: what teams, principals and labels have used, as JSON or CSV. Not here: the sums (domain/usage.py)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from dayfly.api.dependencies import Services
from dayfly.api.media_types import JSON, prefers
from dayfly.api.principals import Caller
from dayfly.api.system.accounting_parameters import Since, Until, storable, visible_team
from dayfly.domain.usage import Grouping, UsageGroup, UsageReport, UsageSum
from dayfly.schemas.accounting import BY, LABEL_BY, MAX_BY, UsageAmount, UsageList, UsageRow
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER

router: Final = APIRouter(prefix="/v1/usage", tags=["accounting"])

CSV: Final = "text/csv"
_DEFAULT_DAYS: Final = 30
_MEBI: Final = 1024
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Begins of cells that spreadsheets compute."""

_Table = Sequence[tuple[UsageGroup, UsageSum]]


@router.get(
    "",
    operation_id="getUsage",
    response_model=UsageList,
    responses={
        200: {
            "content": {
                JSON: {"schema": {"$ref": "#/components/schemas/UsageList"}},
                CSV: {"schema": {"type": "string", "description": "A header, then a line for each group."}},
            }
        }
    },
)
async def get_usage(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    by: Annotated[
        list[Annotated[str, Query(pattern=BY)]],
        Query(max_length=MAX_BY, description="Add up by `team`, `principal`, `day` and `label:KEY`; none: one sum."),
    ] = [],  # noqa: B006
    team: Annotated[
        str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="The usage of this team only.")
    ] = None,
    since: Since = None,
    until: Until = None,
    format: Annotated[Literal["json", "csv"] | None, Query(description="Goes before the Accept header.")] = None,  # noqa: A002
    limit: Annotated[int, Query(ge=1, le=10_000, description="Groups of one page of JSON; CSV has all.")] = 1000,
    cursor: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,9}-[0-9]{1,12}-[0-9]{1,12}$", description="The `next_cursor` of the page before."),
    ] = None,
) -> UsageList | Response:
    """What clusters had reserved, in vCPU-seconds and GiB-seconds, from `since` (default: 30 days ago) to `until`.

    Reserved is what the host sets apart for a cluster, from its admission until it is removed: with the memory of QEMU
    itself; of a hibernated cluster only disk, for its disks and its saved memory. Members of a pool and clusters that
    build a template count for the team. Labels count as they were at the time. Templates and checkpoints on disk, and
    bakes, do not count. Usage is kept for a configured time, longer than clusters.
    """
    offset = 0
    if cursor is not None:
        # The period of the first page: the pages add up to the total.
        offset, *period = map(int, cursor.split("-"))
        since, until = (storable(datetime.fromtimestamp(min(end, 10**11), UTC)) for end in period)
    visible, any_there = visible_team(caller, team)
    begin = storable(since) if since is not None else _default_since(until, services.clock.now())
    end = begin if not any_there else None if until is None else storable(until)
    labels = tuple(dict.fromkeys(one.removeprefix(LABEL_BY) for one in by if one.startswith(LABEL_BY)))
    grouping = Grouping(team="team" in by, principal="principal" in by, day="day" in by, labels=labels)
    report = await services.store.usage.report(grouping, begin, end, team=visible)
    groups = report.groups()
    if format == "csv" or (format is None and prefers(request, CSV)):
        return Response(_csv(grouping, groups), media_type=CSV, headers={"Vary": "Accept"})
    response.headers["Vary"] = "Accept"
    return _page(report, groups, offset, limit)


def _default_since(until: datetime | None, now: datetime) -> datetime:
    return storable(storable(until or now) - timedelta(days=_DEFAULT_DAYS))


def _page(report: UsageReport, groups: _Table, offset: int, limit: int) -> UsageList:
    following = offset + limit
    return UsageList(
        since=datetime.fromtimestamp(report.since, UTC),
        until=datetime.fromtimestamp(report.until, UTC),
        usage=tuple(
            UsageRow(
                team=group.team,
                principal=group.principal,
                labels=dict(zip(report.grouping.labels, group.labels, strict=True)),
                day=group.day,
                **vars(_amount(used)),
            )
            for group, used in groups[offset:following]
        ),
        total=_amount(report.total),
        next_cursor=f"{following}-{report.since}-{report.until}" if following < len(groups) else None,
    )


def _amount(used: UsageSum) -> UsageAmount:
    return UsageAmount(
        vcpu_seconds=used.vcpu_seconds,
        memory_gib_seconds=used.memory_mib_seconds / _MEBI,
        disk_gib_seconds=used.disk_gib_seconds,
    )


def _csv(grouping: Grouping, groups: _Table) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    names = [name for name in ("day", "team", "principal") if getattr(grouping, name)]
    labels = [f"{LABEL_BY}{key}" for key in grouping.labels]
    writer.writerow([*names, *labels, *UsageAmount.model_fields])
    for group, used in groups:
        own = [str(getattr(group, name)) for name in names]
        values = vars(_amount(used)).values()
        writer.writerow([*_texts(own), *_texts(label or "" for label in group.labels), *values])
    return table.getvalue()


def _texts(cells: Iterable[str]) -> list[str]:
    """Cells that no spreadsheet takes for a formula: callers choose labels."""
    return [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]
