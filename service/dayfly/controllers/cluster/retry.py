"""The retry policy of steps: attempts and back-off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """How often a step is tried, and the pause before its second attempt; the pause doubles with each further one."""

    attempts: int
    backoff_seconds: float

    def backoff(self, attempt: int) -> float:
        return float(self.backoff_seconds * 2 ** (attempt - 1))
