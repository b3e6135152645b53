"""A bound on the answers that one process holds. Not here: how they are held (long_poll.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dayfly.errors import TooManyWaits

MAX_HELD: Final = 256
"""Each held answer reads the database every five seconds."""


class HeldAnswers:
    """Counts the answers that this process holds."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._limit = limit
        self._held = 0

    @property
    def full(self) -> bool:
        """Whether no further answer may be held."""
        return self._held >= self._limit

    def check(self) -> None:
        """Raises TooManyWaits if full."""
        if self.full:
            raise TooManyWaits(f"this server holds {self._held} answers already: ask again later, or without waiting")

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, within the block."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
