"""Tells what a wait still waits for, so that a long wait is not silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from dayfly.clock import Clock
from dayfly.drivers.interfaces import OnLate

SILENCE_SECONDS: Final = 15.0
_CHARACTERS: Final = 200


@asynccontextmanager
async def told(clock: Clock, on_late: OnLate | None, missing: Callable[[], str]) -> AsyncIterator[None]:
    """Every SILENCE_SECONDS of the block, `on_late` gets what is missing then, unless nothing has changed."""

    async def tell(on_late: OnLate) -> None:
        before = ""
        while True:
            await clock.sleep(SILENCE_SECONDS)
            if (now := missing()[:_CHARACTERS]) not in {"", before}:
                on_late(before := now)

    if on_late is None:
        yield
        return
    telling = asyncio.create_task(tell(on_late))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait({telling})
