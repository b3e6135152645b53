"""When a failed request is repeated, and after how long."""

from __future__ import annotations

import logging
import time
from typing import Final

from dayfly.client.errors import ApiError, ClientError, Unreachable

REQUEST_SECONDS: Final = 15.0
"""How long a single request is repeated: longer than a service takes to restart."""
FINAL_CODES: Final = frozenset({"not_found", "conflict"})
"""Dayfly's answers to a heartbeat after which another heartbeat is useless."""
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 5.0
_UNEXPECTED: Final = "unexpected_answer"
_BUSY: Final = frozenset({429, 503})
_GATEWAY: Final = frozenset({502, 504})

_log = logging.getLogger("dayfly.client")


def may_pass(error: ClientError) -> bool:
    """Whether a later request may succeed: no server answered, another than Dayfly refused, or Dayfly had a failure."""
    if isinstance(error, ApiError):
        foreign_refusal = error.code == _UNEXPECTED and error.status >= 400
        return foreign_refusal or error.status >= 500 or error.status == 429
    return isinstance(error, Unreachable)


def may_repeat(error: ClientError, *, idempotent: bool) -> bool:
    """Whether a request may be sent again: the server did not carry it out, or carries it out once (`idempotent`).

    Every POST is: the server knows its key, or a heartbeat, hibernation or resumption changes nothing the second time.
    """
    if isinstance(error, ApiError):
        if error.code == "shutting_down":  # the request may have been under way
            return idempotent
        return error.status in _BUSY or (idempotent and error.code == _UNEXPECTED and error.status in _GATEWAY)
    return isinstance(error, Unreachable) and (idempotent or not error.sent)


class Backoff:
    """Growing pauses between attempts, until `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._failures = 0

    @property
    def remaining(self) -> float:
        """Seconds to the deadline, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def succeeded(self) -> None:
        """The next pause is the first again."""
        self._failures = 0

    def pause_seconds(self, error: ClientError) -> float | None:
        """The pause after `error`: what its Retry-After asks for, or the next longer one. None: no time is left."""
        remaining = self.remaining
        if remaining <= 0:
            return None
        if self._failures == 0:
            _log.warning("%s; trying again for up to %.0f s", error, remaining)
        own = min(_FIRST_PAUSE_SECONDS * float(2 ** min(self._failures, 10)), _LONGEST_PAUSE_SECONDS)
        self._failures += 1
        asked = error.retry_after_seconds if isinstance(error, ApiError) else None
        return min(max(own, asked or 0.0), remaining)
