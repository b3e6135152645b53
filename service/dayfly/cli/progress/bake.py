"""Progress of a bake: on a terminal a live line for each phase; elsewhere a line when a phase begins and ends."""

from __future__ import annotations

import time
from typing import Final

from rich.console import Group
from rich.text import Text

from dayfly.cli.formatting import printable_line
from dayfly.cli.progress.live import Console, LiveView, draws
from dayfly.images.progress import PhaseState, Progress

_MARKS: Final[dict[PhaseState, tuple[str, str]]] = {
    "waiting": ("…", "yellow"),
    "running": ("•", "cyan"),
    "cached": ("=", "dim"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}


class BakeView(LiveView):
    """Shows the progress of a bake's phases."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._phases: dict[str, tuple[Progress, float]] = {}
        """Phase → its last report, and the time of that report."""

    def show(self, progress: Progress) -> None:
        """The callback of a bake."""
        before, _ = self._phases.get(progress.phase, (None, 0.0))
        self._phases[progress.phase] = (progress, time.monotonic())
        if not draws(self.console) and (before is None or before.state != progress.state):
            self.console.print(_line(progress, progress.seconds), soft_wrap=True)

    def render(self) -> Group:
        return Group(*(_line(progress, _elapsed(progress, at)) for progress, at in self._phases.values()))


def _elapsed(progress: Progress, at: float) -> float:
    """A phase's seconds so far: the reported seconds, and of a phase that is not over the time since the report."""
    over = progress.state not in {"running", "waiting"}
    return progress.seconds + (0.0 if over else time.monotonic() - at)


def _line(progress: Progress, seconds: float) -> Text:
    mark, style = _MARKS[progress.state]
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{mark} {progress.phase:<24}", style)
    line.append(f"{seconds:7.1f} s  " if progress.state != "cached" else " " * 11)
    message = f"{progress.message} (details: {progress.detail})" if progress.detail else progress.message
    line.append(printable_line(message) or progress.state, "dim" if progress.state != "failed" else style)
    return line
