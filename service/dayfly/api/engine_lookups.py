"""Bounds what a request asks of the engine: a POST is answered before its caller gives up, and records nothing then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from dayfly.errors import DayflyError, EngineUnavailable

T = TypeVar("T")

LOOKUP_SECONDS: Final = 5.0
"""Less than the limit of any client."""
_MAX_UNFINISHED: Final = 8


@dataclass
class EngineLookups:
    """Look-ups that took longer than `seconds` and still run.

    They are not cancelled at once: the first look-up of the host's disk or accelerator may take longer than a request,
    and its result is remembered for the next request.
    """

    seconds: float = LOOKUP_SECONDS
    unfinished: set[asyncio.Task[Any]] = field(default_factory=set)

    async def bounded(self, lookup: Awaitable[T]) -> T:
        """The result of `lookup`. Raises EngineUnavailable after `seconds`."""
        task = asyncio.ensure_future(lookup)
        try:
            await asyncio.wait({task}, timeout=self.seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        if len(self.unfinished) < _MAX_UNFINISHED:
            self.unfinished.add(task)
            task.add_done_callback(self._finished)
        else:
            task.cancel()
        raise EngineUnavailable(f"the engine did not answer within {self.seconds:g} s: nothing was recorded")

    async def known(self, lookup: Awaitable[T]) -> T | None:
        """As bounded(); None if the look-up failed."""
        try:
            return await self.bounded(lookup)
        except DayflyError:
            return None

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self.unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # the request that asked has been answered
