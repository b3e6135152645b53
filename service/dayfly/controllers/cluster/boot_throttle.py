"""Throttles boots: while the host is under pressure, clusters boot one after the other.

A machine that is emulated, or boots from a busy disk, slows all others down, and together they exceed their time
limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from dayfly.clock import Clock
from dayfly.drivers.interfaces import Pressure, PressureGauge

_LOOK_SECONDS: Final = 1.0


class BootThrottle:
    """Grants turns to boot. The machines of one cluster share a turn, because they must boot together."""

    def __init__(self, gauge: PressureGauge, limit_percent: float, clock: Clock) -> None:
        self._gauge, self._limit, self._clock = gauge, limit_percent, clock
        self._booting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, cluster_id: str, waiting: Callable[[str], None]) -> AsyncIterator[None]:
        """Holds a turn within the block. `waiting` is called once with the reason for a delay."""
        reported = False
        # The kernel does not notify of falling pressure: poll it; a look is one small read.
        while (pressure := self._too_high(cluster_id)) is not None:
            if not reported:
                waiting(f"the host is busy ({pressure.source} {pressure.percent:.0f} %): another cluster boots first")
                reported = True
            await self._clock.sleep(_LOOK_SECONDS)
        self._booting[cluster_id] += 1
        try:
            yield
        finally:
            self._booting[cluster_id] -= 1
            if not self._booting[cluster_id]:
                del self._booting[cluster_id]

    def _too_high(self, cluster_id: str) -> Pressure | None:
        """The pressure, where it prevents this cluster from booting beside others."""
        if not self._booting or cluster_id in self._booting:
            return None
        pressure = self._gauge.read()
        return pressure if pressure.percent > self._limit else None
