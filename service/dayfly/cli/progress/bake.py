"""Progress of a bake: on a terminal a live line for each phase; elsewhere a line when a phase begins and ends."""

from __future__ import annotations

import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Seen:
    progress: Progress
    at: float


class BakeView(LiveView):
    """Shows the progress of a bake's phases."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._phases: dict[str, _Seen] = {}

    def show(self, progress: Progress) -> None:
        """The callback of a bake."""
        before = self._phases.get(progress.phase)
        self._phases[progress.phase] = _Seen(progress, time.monotonic())
        if draws(self.console):
            return
        if before is None or before.progress.state != progress.state:
            self.console.print(_line(progress, progress.seconds), soft_wrap=True)

    def render(self) -> Group:
        return Group(*(_line(seen.progress, _elapsed(seen)) for seen in self._phases.values()))


def _elapsed(seen: _Seen) -> float:
    """A phase's seconds so far: the reported seconds, and of a phase that is not over the time since the report."""
    over = seen.progress.state not in {"running", "waiting"}
    return seen.progress.seconds + (0.0 if over else time.monotonic() - seen.at)


def _line(progress: Progress, seconds: float) -> Text:
    mark, style = _MARKS[progress.state]
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{mark} {progress.phase:<24}", style)
    line.append(f"{seconds:7.1f} s  " if progress.state != "cached" else " " * 11)
    line.append(printable_line(progress.message) or progress.state, "dim" if progress.state != "failed" else style)
    return line
