"""`dayfly doctor`: shows the results of dayfly.doctor. Not here: any check, any trial."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dayfly.cli.progress.doctor import LastingConsole, TrialView, render_report
from dayfly.cli.server_settings import server_settings
from dayfly.cli.signals import run_interruptible
from dayfly.doctor import Check, examine
from dayfly.doctor.full.examination import examine_fully
from dayfly.doctor.full.report import Report
from dayfly.doctor.subject import open_subject
from dayfly.settings import Settings

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Do all that Dayfly promises on this host, with a service of its own.")
    ] = False,
    image: Annotated[
        str, typer.Option(help="With --full: a recipe, baked where it is missing, or an image's reference.")
    ] = "bare",
    evidence: Annotated[
        Path | None, typer.Option("--keep-evidence", metavar="FOLDER", help="With --full: where evidence is written.")
    ] = None,
) -> None:
    """Check whether this host can run clusters, and say what to do where it cannot.

    Ends with exit code 1 if any check failed; warnings are no failures.

    --full takes some minutes, more without KVM. It makes clusters of two nodes from nothing, from a template, from a
    checkpoint and out of hibernation, looks at clocks, network, registry and image transfer, deletes everything, and
    looks whether anything is left. Ends with exit code 0 only if every trial is ok; 130 if it was interrupted. It
    cleans up in either case.
    """
    settings = server_settings()
    if full:
        raise typer.Exit(_examine_fully(settings, image, evidence, as_json=as_json))
    checks = run_interruptible(_examine(settings))
    healthy = all(check.status != "fail" for check in checks)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        render(checks, Console())
    raise typer.Exit(0 if healthy else 1)


def _examine_fully(settings: Settings, image: str, evidence: Path | None, *, as_json: bool) -> int:
    with TrialView(LastingConsole(stderr=True)) as view:
        report = asyncio.run(_until_stopped(settings, image, view, evidence))
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        render_report(report, Console())
    return report.exit_code


async def _until_stopped(settings: Settings, image: str, view: TrialView, evidence: Path | None) -> Report:
    """Ctrl-C, SIGTERM and the terminal's end interrupt the trials, not the cleaning up."""
    stop = asyncio.Event()

    def on_signal() -> None:
        view.tell(Text("interrupted: cleaning up" if not stop.is_set() else "still cleaning up"))
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return await examine_fully(settings, image, view=view, stop=stop, evidence=evidence)


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
