"""The log of a bake: turns reports of its steps into events, a bounded number at a time. Not here: their storage."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import Final

from dayfly.domain.bake import LINE, NewBakeEvent
from dayfly.images.progress import Progress

MOST_LINES: Final = 200
"""Lines of output between two writes to the store; of more, the newest are kept."""

_LOGIN: Final = re.compile(r"(?<=://)[^/\s]+@")
"""User and password in a URL: mirrors may have them."""


def without_logins(text: str) -> str:
    """`text` for callers of the API."""
    return _LOGIN.sub("…@", text)


class BakeLog:
    """Events that are not written yet. `report` is the callback of a bake."""

    def __init__(self) -> None:
        self._events: list[NewBakeEvent] = []
        self._lines: deque[NewBakeEvent] = deque(maxlen=MOST_LINES)
        self._left_out = 0
        self._running: set[str] = set()

    def report(self, progress: Progress) -> None:
        message = without_logins(progress.message)
        step = progress.phase
        if progress.state != "running":
            self._running.discard(step)
            seconds = progress.seconds if progress.state in {"done", "failed"} else None
            self.add(NewBakeEvent(f"step.{progress.state}", message, step, seconds))
            return
        if step not in self._running:
            self._running.add(step)
            self.add(NewBakeEvent("step.running", step=step))
        if message:
            self._left_out += len(self._lines) == MOST_LINES
            self._lines.append(NewBakeEvent(LINE, message, step))

    def add(self, event: NewBakeEvent) -> None:
        """Add an event after all that were reported so far."""
        self._events += [*self._take_lines(), replace(event, message=without_logins(event.message))]

    def take(self) -> list[NewBakeEvent]:
        """The events since the last call, in order."""
        events = [*self._events, *self._take_lines()]
        self._events.clear()
        return events

    def put_back(self, events: list[NewBakeEvent]) -> None:
        """Put back events that could not be written. Of many lines, the newest stay."""
        lines = [event for event in events if event.type == LINE][-MOST_LINES:]
        kept = {id(event) for event in lines}
        self._events = [event for event in events if event.type != LINE or id(event) in kept] + self._events

    def _take_lines(self) -> list[NewBakeEvent]:
        lines, left_out = list(self._lines), self._left_out
        self._lines.clear()
        self._left_out = 0
        if left_out:
            return [NewBakeEvent(LINE, f"({left_out} lines are left out here)", lines[0].step), *lines]
        return lines
