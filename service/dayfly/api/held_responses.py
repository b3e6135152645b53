"""Bounds on the responses that one process holds at once: long polls and followed consoles; streams of events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dayfly.errors import TooManyStreams, TooManyWaits


@dataclass
class HeldResponses:
    """Responses held now, at most `maximum`: each keeps a connection, and reads the store now and then."""

    maximum: int = 500
    number: int = 0
    refusal: type[TooManyWaits | TooManyStreams] = TooManyWaits

    @property
    def is_full(self) -> bool:
        return self.number >= self.maximum

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold one more response. Raises `refusal`."""
        if self.is_full:
            raise self.refusal(f"the service holds {self.number} responses already: repeat the request later")
        self.number += 1
        try:
            yield
        finally:
            self.number -= 1
