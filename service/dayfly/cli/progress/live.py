"""A region of the terminal that is redrawn. Not here: what is drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Self

import rich.console
from rich.console import RenderableType
from rich.live import Live
from rich.segment import Segment

from dayfly.cli.formatting import printable


class Console(rich.console.Console):
    """Draws text as it is: no markup, no emoji, no control characters in it."""

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def draws(console: Console) -> bool:
    """Whether the console is a terminal that can be redrawn. FORCE_COLOR colours other output, and does not draw."""
    return console.file.isatty() and not console.is_dumb_terminal


class LiveView(ABC):
    """Draws `render` while the view is entered; draws nothing without a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if draws(self.console):
            self._live = Live(console=self.console, get_renderable=self.render, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    @abstractmethod
    def render(self) -> RenderableType:
        """The present content."""
