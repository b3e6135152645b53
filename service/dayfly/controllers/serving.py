"""Records that the API serves, so that workers expire no cluster whose caller could not send a heartbeat.

Every API process runs it. Not here: what the record changes (store/clusters/service_clock.py).
"""

from __future__ import annotations

from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.errors import DayflyError
from dayfly.store import Store

_log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
"""Less than half of the time after which the store considers the API as stopped."""


class ServingRecord:
    """The record of one API process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._starting = True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.record()

    async def record(self) -> None:
        """Record that the API serves; the first record begins every heartbeat interval again."""
        try:
            await self._store.service_clock.serve(starting=self._starting)
        except DayflyError as error:
            _log.warning("cannot record that the API serves", code=error.code, reason=error.for_operator)
        else:
            self._starting = False
