"""`dayfly doctor`: shows the results of dayfly.doctor. Not here: any check, any trial."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from dayfly.cli.emit import emit
from dayfly.cli.formatting import printable
from dayfly.cli.options import Json, Output
from dayfly.cli.output_file import write_output
from dayfly.cli.progress.doctor import LastingConsole, TrialView, render_report
from dayfly.cli.progress.live import Console
from dayfly.cli.server_settings import command_settings
from dayfly.cli.signals import run_interruptible
from dayfly.doctor.checks import Check
from dayfly.doctor.examine import examine
from dayfly.doctor.full.examination import examine_fully
from dayfly.doctor.full.report import Report, TrialResult
from dayfly.doctor.subject import open_subject
from dayfly.settings import Settings
from dayfly.vocabulary import OutputFormat

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    output: Output = None,
    as_json: Json = False,
    full: Annotated[
        bool, typer.Option("--full", help="Try all features on this host, with a separate service.")
    ] = False,
    image: Annotated[
        str, typer.Option(help="With --full: a recipe (baked if missing) or an image's reference.")
    ] = "bare",
    evidence: Annotated[
        Path | None, typer.Option("--keep-evidence", metavar="FOLDER", help="With --full: folder for evidence.")
    ] = None,
) -> None:
    """Check whether this host can run clusters, with advice for each failed check.

    Exit code 1 if a check failed; warnings do not count.

    --full takes some minutes, more without KVM. It boots clusters of two nodes, forks, resets and resumes them, checks
    clocks, network, registry and image transfer, deletes everything, and checks that nothing is left. Exit code 0 only
    if every trial is ok; 130 after an interruption. It cleans up in each case.
    """
    if evidence is not None and not full:
        raise typer.BadParameter("only --full makes evidence", param_hint="--keep-evidence")
    chosen = OutputFormat.JSON if as_json else output
    settings = command_settings()
    if full:
        with TrialView(LastingConsole(stderr=True)) as view:
            tried = asyncio.run(_until_stopped(settings, image, view, evidence))
        _emit(asdict(tried), tried.trials, chosen, lambda: render_report(tried, Console()))
        raise typer.Exit(tried.exit_code)
    checks = run_interruptible(_examine(settings))
    healthy = all(check.status != "fail" for check in checks)
    report = {"healthy": healthy, "checks": [asdict(check) for check in checks]}
    _emit(report, checks, chosen, lambda: render(checks, Console()))
    raise typer.Exit(0 if healthy else 1)


def _emit(
    report: object, results: Sequence[Check | TrialResult], output: OutputFormat | None, show: Callable[[], None]
) -> None:
    """Print the report in a format, or the names of its results; without a format (and wide) a table for people."""
    if output in {None, OutputFormat.WIDE}:
        show()
    else:
        emit(results if output is OutputFormat.NAME else report, "", output)


async def _until_stopped(settings: Settings, image: str, view: TrialView, evidence: Path | None) -> Report:
    """Ctrl-C, SIGTERM and SIGHUP interrupt the trials, not the cleanup."""
    stop = asyncio.Event()

    def on_signal() -> None:
        view.tell(Text("interrupted: cleaning up" if not stop.is_set() else "still cleaning up"))
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return await examine_fully(settings, image, view=view, stop=stop, evidence=evidence, write=write_output)


async def _examine(settings: Settings) -> tuple[Check, ...]:
    async with open_subject(settings) as subject:
        return await examine(subject)


def render(checks: Sequence[Check], console: Console) -> None:
    """One line for each check, with its advice below."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        finding = Text(printable(check.found))
        if check.advice:
            finding.append(f"\n→ {printable(check.advice)}", style="italic")
        table.add_row(Text(check.status, style=_STYLES[check.status]), check.name, finding)
    console.print(table)
