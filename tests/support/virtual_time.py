"""Virtual time: hours of leases, pauses and limits pass as soon as all tasks wait.

The event loop's clock jumps to the next timer instead of waiting. Code without calls outside its process runs the same
way each time, so failures are reproducible.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from dayfly.clock import BootTime

_MORNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BUSY_SECONDS: Final = 1.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    While `busy` is true, an outside process (a database server) works for a test, and no time is skipped.
    With `real`, real time passes as well; `on_skip` gets the total of skipped seconds.
    """

    def __init__(
        self,
        *,
        real: bool = False,
        busy: Callable[[], bool] = lambda: False,
        on_skip: Callable[[float], None] = lambda _: None,
    ) -> None:
        super().__init__(_SkippingSelector(self))
        self.skipped = 0.0
        self.began = datetime.now(UTC) if real else _MORNING
        self.busy, self._on_skip = busy, on_skip
        self._real, self._start = real, super().time()

    def time(self) -> float:
        # The base class's constructor calls this method, too.
        passed = super().time() - self._start if getattr(self, "_real", False) else 0.0
        return getattr(self, "skipped", 0.0) + passed

    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.time())

    def skip(self, seconds: float) -> None:
        self.skipped += seconds
        self._on_skip(self.skipped)


class _SkippingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.busy():
            return super().select(_BUSY_SECONDS if timeout is None else min(timeout, _BUSY_SECONDS))
        events = super().select(0)
        if not events and timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        if not events and timeout:
            self._loop.skip(timeout)
        return events


class LoopClock:
    """The clock of the running VirtualLoop, as the service is handed it."""

    def now(self) -> datetime:
        return running_loop().now()

    def monotonic(self) -> float:
        return running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def virtual_boot_time() -> BootTime:
    """A host that booted with the running VirtualLoop."""
    return BootTime("virtual", running_loop().time())


def running_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
