"""Held responses that tests can wait for: a test acts once the service holds the response, not after a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dayfly.api.held_responses import HeldResponses

PATIENCE_SECONDS = 20
"""Far more than any of these takes; reached only by a test that fails."""


@dataclass
class AnnouncedResponses(HeldResponses):
    """`begun` is set whenever the service begins to hold a response."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def hold(self) -> Iterator[None]:
        with super().hold():
            self.begun.set()
            yield

    async def next(self) -> None:
        """Returns when a response is held that was not held at the last return."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.begun.wait()
        self.begun.clear()
