"""The cost of an idle service: the CPU time of each process, by the number of ready clusters."""

from __future__ import annotations

import asyncio
import time

from tests.bench.figures import Figures
from tests.bench.fleet import Fleet

SETTLE_SECONDS = 3.0
"""Time for the remaining work of the last creation."""


async def at_rest(fleet: Fleet, seconds: float) -> Figures:
    """Percent of a core for each process, over `seconds`: a window of a survey's interval holds one survey."""
    await asyncio.sleep(min(seconds, SETTLE_SECONDS))
    before, began = fleet.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    after, passed = fleet.cpu_seconds(), time.monotonic() - began
    return {f"idle_{name}_core_percent": 100 * (after[name] - before[name]) / passed for name in after}
