"""`dayfly quota …`, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Final, get_args

import typer

from dayfly.cli import options
from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_table
from dayfly.client import Client, DefaultQuota, Quota
from dayfly.schemas.quotas import QuotaLimits, QuotaRequest
from dayfly.vocabulary import TeamIsolation

app = typer.Typer(no_args_is_help=True, help="Show and set what teams may have.", add_completion=False)

_NONE: Final = "none"
_ISOLATION: Final = "isolation"
_ISOLATIONS: Final = get_args(TeamIsolation)
_NAMES: Final = tuple(QuotaRequest.model_fields)

Team = Annotated[str | None, typer.Option(help="A team; operators only. Default: your own.")]


@app.command()
def show(
    team: Team = None,
    default: Annotated[bool, typer.Option("--default", help="The installation's default instead.")] = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Show what your team may have, and what it has."""
    if team is not None and default:
        raise typer.BadParameter("give either --team or --default")
    with Client() as client:
        found = client.default_quota() if default else client.quota(team)
    emit(found, _text(found), output, as_json)


@app.command("set")
def set_quota(
    limits: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=LIMIT...",
            help=f"{', '.join(_NAMES)}; `{_NONE}`: without limit. Isolation of clusters: {', '.join(_ISOLATIONS)}. "
            "Left out: as the installation's default.",
        ),
    ] = None,
    *,
    team: Annotated[str | None, typer.Option(help="The team.")] = None,
    default: Annotated[bool, typer.Option("--default", help="The installation's default.")] = False,
    output: options.Output = None,
    as_json: options.Json = False,
) -> None:
    """Replace the quota of a team, or the installation's default. For operators."""
    if (team is None) != default:
        raise typer.BadParameter("give either --team or --default")
    wanted = _limits(limits or ())
    with Client() as client:
        found = client.set_default_quota(wanted) if team is None else client.set_quota(team, wanted)
    emit(found, _text(found), output, as_json)


def _limits(pairs: Sequence[str]) -> dict[str, float | str | None]:
    found: dict[str, float | str | None] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in _NAMES:
            raise typer.BadParameter(f"{pair!r}: write NAME=LIMIT, with a NAME of {', '.join(_NAMES)}")
        if name in found:
            raise typer.BadParameter(f"two limits for {name}")
        found[name] = _isolation(text) if name == _ISOLATION else _limit(pair, text)
    return found


def _isolation(text: str) -> str:
    if text not in _ISOLATIONS:
        raise typer.BadParameter(f"isolation is one of {', '.join(_ISOLATIONS)}")
    return text


def _limit(pair: str, text: str) -> float | None:
    try:
        value = None if text == _NONE else json.loads(text)
    except ValueError:
        value = text
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise typer.BadParameter(f"{pair!r}: a limit is a number, or `{_NONE}`")
    return value


def _text(found: Quota | DefaultQuota) -> str:
    used = vars(found.used) if isinstance(found, Quota) else {}
    rows = [
        (name, "-" if limit is None else str(limit), str(used.get(name, "-")))
        for name, limit in ((name, getattr(found.limits, name)) for name in QuotaLimits.model_fields)
    ]
    others = [("weight", f"{found.weight:g}", "-"), (_ISOLATION, found.isolation, "-")]
    table = format_table(("QUOTA", "LIMIT", "USED"), rows + others)
    return f"team {found.team}\n{table}" if isinstance(found, Quota) else table
