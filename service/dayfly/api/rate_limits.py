"""How many requests a principal may make in a minute, counted by this process. Not here: quotas (domain/quota.py)."""

from __future__ import annotations

import math
from typing import Final

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from dayfly.clock import Clock
from dayfly.errors import RateLimited

DEFAULT_PER_MINUTE: Final = 60_000
"""More than one process answers in a minute: a limit for callers that repeat requests without end."""


class RateLimits:
    def __init__(self, per_minute: int = DEFAULT_PER_MINUTE) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def count(self, principal: str, clock: Clock) -> None:
        """Count a request. Raises RateLimited beyond the limit, until the minute ends that began with the first one."""
        if await self._limiter.hit(self._limit, principal):
            return
        ends = (await self._limiter.get_window_stats(self._limit, principal)).reset_time
        seconds = max(1, math.ceil(ends - clock.now().timestamp()))
        message = f"{principal} may make {self._limit.amount} requests a minute: repeat the request in {seconds} s"
        raise RateLimited(message, retry_after_seconds=seconds)
