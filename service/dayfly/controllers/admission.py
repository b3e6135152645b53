"""Admission: reserves the host's resources for waiting clusters as soon as they are free.

Every worker process runs it; a lock in the store serialises them, so that no resource is given away twice.
Not here: which cluster is next (domain/scheduling/fair_queue.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from dayfly.domain.scheduling.fair_queue import admissible
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import DayflyError
from dayfly.store import Store

_log = structlog.get_logger(__name__)


class Admission:
    """Admits clusters whenever the queue or the free resources change. `offered`: the host's resources for clusters."""

    def __init__(self, store: Store, offered: Callable[[], Awaitable[Resources]], poll_seconds: float) -> None:
        self._store, self._offered, self._poll_seconds = store, offered, poll_seconds

    async def run(self) -> None:
        """Until cancelled."""
        with self._store.watch_queue() as watch:
            while True:
                try:
                    await self.look()
                except DayflyError as error:
                    # Without the engine its resources are unknown: the clusters stay queued.
                    _log.warning("cannot admit clusters", code=error.code, reason=error.for_operator)
                await watch.wait(self._poll_seconds)

    async def look(self) -> tuple[str, ...]:
        """Admit all clusters that fit now; their ids. Raises EngineUnavailable, DatabaseUnavailable."""
        queue = await self._store.admission.queue()
        if not queue.waiting:
            return ()
        offered = await self._offered()
        # First without the lock: with a long queue, most looks find that nothing fits.
        if not admissible(queue, offered):
            return ()
        return await self._store.admission.admit(lambda locked: admissible(locked, offered))
