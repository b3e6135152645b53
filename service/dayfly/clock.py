"""The injected clock. No other module calls `time` or `asyncio.sleep`, so that tests never wait for real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class BootTime:
    """Seconds since the boot `boot_id` of a host, suspension included; setting the wall clock does not change them."""

    boot_id: str
    seconds: float


BootClock = Callable[[], BootTime]


class Clock(Protocol):
    """The source of time for all modules."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never decreases."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def boot_time() -> BootTime:
    return BootTime(_boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


@cache
def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()
