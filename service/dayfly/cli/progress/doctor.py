"""Progress of a full examination: on a terminal a live line, elsewhere a line for each trial; at the end a table.

Only the table goes to standard output, where JSON may go instead.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from rich.table import Table
from rich.text import Text

from dayfly.cli.formatting import printable, printable_line
from dayfly.cli.progress.live import Console, LiveView, draws
from dayfly.doctor.full.report import Report, TrialResult

_STYLES: Final = {"ok": "green", "failed": "bold red", "not run": "yellow"}


class LastingConsole(Console):
    """Stops printing when its reader is gone. Rich's own Console would exit before the cleanup."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class TrialView(LiveView):
    """Shows the progress of an examination (doctor.full.runner.Watcher)."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._trial = self._message = ""
        self._began = time.monotonic()

    def began(self, trial: str) -> None:
        self._trial, self._message, self._began = trial, "", time.monotonic()
        if not draws(self.console):
            self.tell(Text(f"… {trial}"))

    def show_progress(self, text: str) -> None:
        self._message = text

    def ended(self, result: TrialResult) -> None:
        self._trial = ""
        code = f"[{result.code}] " if result.code and result.verdict == "failed" else ""
        line = Text(f"{result.verdict:<8}", _STYLES[result.verdict])
        line.append(f"{result.name:<22}{result.seconds:7.1f} s  {code}{printable_line(result.detail)}", "default")
        self.tell(line)

    def tell(self, text: Text) -> None:
        """Print a line. A closed terminal must not prevent the cleanup."""
        with suppress(OSError):
            self.console.print(text, soft_wrap=True)

    def render(self) -> Text:
        if not self._trial:
            return Text("")
        elapsed = time.monotonic() - self._began
        line = Text(f"•       {self._trial:<22}{elapsed:7.1f} s  ", "cyan", no_wrap=True, overflow="ellipsis")
        return line.append(printable_line(self._message), "dim")


def render_report(report: Report, console: Console) -> None:
    """Two lines about the host, and a line for each trial."""
    host, engine = report.host, report.engine
    console.print(Text(f"{host['system']}, Linux {host['kernel']}, Python {host['python']}, {host['cores']} cores"))
    if engine:
        name, version = engine.get("name", "engine"), engine.get("version", "?")
        on = report.accelerator.get("accelerator", "an unknown accelerator")
        console.print(Text(f"{name} {version}, {engine.get('storage_driver', '?')}; machines run on {on}"))
    table = Table("trial", "verdict", "seconds", "detail", box=None, pad_edge=False)
    for trial in report.trials:
        code = f"[{trial.code}] " if trial.code and trial.verdict == "failed" else ""
        seconds = f"{trial.seconds:.1f}" if trial.verdict != "not run" else "-"
        detail = Text(f"{code}{printable(trial.detail)}")
        table.add_row(trial.name, Text(trial.verdict, _STYLES[trial.verdict]), Text(seconds, justify="right"), detail)
    console.print(table)
    passed = sum(trial.verdict == "ok" for trial in report.trials)
    console.print(Text(f"{passed} of {len(report.trials)} trials ok in {report.seconds:.0f} s"))
