"""`dayfly doctor`: shows what dayfly.doctor found. Not here: any check."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dayfly.doctor import Check, examine
from dayfly.doctor.subject import open_subject
from dayfly.settings import Settings

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check whether this host can run clusters, and say what to do where it cannot.

    Ends with exit code 1 if any check failed; warnings are no failures.
    """
    checks = asyncio.run(_examine(Settings()))
    healthy = all(check.status != "fail" for check in checks)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        render(checks, Console())
    raise typer.Exit(0 if healthy else 1)


async def _examine(settings: Settings) -> tuple[Check, ...]:
    async with open_subject(settings) as subject:
        return await examine(subject)


def render(checks: Sequence[Check], console: Console) -> None:
    """One line a check; below it, the advice where there is any."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        said = Text(check.found)
        if check.advice:
            said.append(f"\n→ {check.advice}", style="italic")
        table.add_row(Text(check.status, style=_STYLES[check.status]), check.name, said)
    console.print(table)
