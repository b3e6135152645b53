"""`dayfly usage` and `dayfly audit`: what was used, and who asked for what."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_table, parse_duration
from dayfly.cli.options import Json, Output
from dayfly.cli.terminal import say
from dayfly.client import AuditEntry, Client, UsageList
from dayfly.client.async_accounting import AuditOptions

_BY: Final = re.compile(r"team|principal|day|label:[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")


def parse_moment(given: str | datetime) -> datetime:
    """`30d` ago, `2026-01-31` or `2026-01-31T12:00`, in UTC. Raises BadParameter."""
    if isinstance(given, datetime):
        return given
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        try:
            return datetime.now(UTC) - timedelta(seconds=parse_duration(given))
        except (typer.BadParameter, OverflowError) as error:
            raise typer.BadParameter(
                f"{given!r} is no time: write 30d (ago), 2026-01-31 or 2026-01-31T12:00"
            ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _parse_by(given: str) -> str:
    if not _BY.fullmatch(given):
        raise typer.BadParameter(f"{given!r} is none of team, principal, day and label:KEY")
    return given


def _moment(help: str) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(parser=parse_moment, metavar="TIME", help=help)


Since = Annotated[datetime | None, _moment("From this time on: 30d (ago), 2026-01-31 or 2026-01-31T12:00, in UTC.")]
Until = Annotated[datetime | None, _moment("Until this time. Default: now.")]
Team = Annotated[str | None, typer.Option(help="Of this team only.")]


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(parser=_parse_by, metavar="BY", help="team, principal, day or label:KEY. May be repeated."),
    ] = None,
    since: Since = None,
    until: Until = None,
    team: Team = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Show what clusters had reserved, in vCPU-seconds and GiB-seconds of memory and disk.

    Without --since, of the last 30 days. Clusters that run are counted until now. The parts add up to the second.
    """
    with Client() as client:
        if as_csv:
            say(client.usage_csv(by or (), since=since, until=until, team=team), nl=False)
            return
        found = client.usage(by or (), since=since, until=until, team=team)
    emit(found, _usage_text(found, by or []), output, as_json)


def audit(
    since: Since = None,
    until: Until = None,
    team: Team = None,
    principal: Annotated[str | None, typer.Option(help="Requests of this principal.")] = None,
    operation: Annotated[str | None, typer.Option(help="Requests of this operation: deleteCluster, …")] = None,
    target: Annotated[str | None, typer.Option(metavar="NAME", help="Requests about this id or name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The last so many entries.")] = 100,
    export: Annotated[bool, typer.Option("--export", help="Print all entries as JSON lines, oldest first.")] = False,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Show who asked for what, from where, and with which result, newest first.

    Requests that may have changed something, or that read a secret; refused ones, too.
    """
    which = AuditOptions(since=since, until=until, team=team, principal=principal, operation=operation, target=target)
    with Client() as client:
        if export:
            for text in client.audit_lines(**which):
                say(text, nl=False)
            return
        found = client.audit(limit=limit, **which)
    emit(found, _audit_text(found), output, as_json)


def _usage_text(found: UsageList, by: list[str]) -> str:
    named = [name for name in ("day", "team", "principal") if name in by]
    labels = list(dict.fromkeys(one.removeprefix("label:") for one in by if one.startswith("label:")))
    header = (*(name.upper() for name in named), *labels, "VCPU SECONDS", "MEMORY GIB SECONDS", "DISK GIB SECONDS")
    rows = [
        (
            *(str(getattr(row, name)) for name in named),
            *(row.labels.get(key) or "-" for key in labels),
            *_amounts(row),
        )
        for row in found.usage
    ]
    if by:
        rows.append(("total", *[""] * (len(named) + len(labels) - 1), *_amounts(found.total)))
    period = f"{found.since:%Y-%m-%d %H:%M:%S} to {found.until:%Y-%m-%d %H:%M:%S} UTC"
    return f"{period}\n\n{format_table(header, rows or [_amounts(found.total)])}"


def _amounts(amount: Any) -> tuple[str, str, str]:
    return str(amount.vcpu_seconds), f"{amount.memory_gib_seconds:.3f}", str(amount.disk_gib_seconds)


def _audit_text(found: tuple[AuditEntry, ...]) -> str:
    rows = [
        (
            f"{one.at:%Y-%m-%d %H:%M:%S}",
            one.principal,
            one.team or "-",
            one.address,
            one.operation or "-",
            "-" if one.target is None else f"{one.target.kind} {one.target.name or one.target.id or '-'}",
            str(one.status or "-") if one.code is None else f"{one.status or '-'} {one.code}",
        )
        for one in found
    ]
    return format_table(("AT (UTC)", "PRINCIPAL", "TEAM", "FROM", "OPERATION", "TARGET", "RESULT"), rows)
