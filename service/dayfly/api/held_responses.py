"""Bounds on the responses that one process holds at once: long polls and followed consoles; streams of events.

Those of all callers (HeldResponses), and those of one team (HeldOfTeams).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dayfly.domain.quota import Quota, require_long_poll
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


@dataclass
class HeldOfTeams:
    """The responses that this process holds for each team, by operation. Other processes count their own."""

    _held: dict[str, Counter[str]] = field(default_factory=dict)

    def used(self, team: str) -> int:
        return sum(self._held.get(team, {}).values())

    @contextmanager
    def hold(self, team: str, operation: str, quota: Quota) -> Iterator[None]:
        """Hold one more response of the team. Raises LongPollsExceeded."""
        require_long_poll(team, quota, self._held.get(team, {}))
        self._held.setdefault(team, Counter())[operation] += 1
        try:
            yield
        finally:
            self._held[team] -= Counter({operation: 1})  # leaves out what is 0
            if not self._held[team]:
                del self._held[team]
