"""Requeues clusters whose pass raised InfrastructureError: with back-off, and at once when the engine answers again.

Not here: how the engine's return is noticed (controllers/engine_events.py).
"""

from __future__ import annotations

from typing import Final

from dayfly.controllers.cluster.outcome import RequeueAfter
from dayfly.domain.cluster.model import NewEvent
from dayfly.errors import DatabaseUnavailable, InfrastructureError
from dayfly.store import Claim, Store

_LONGEST_SECONDS: Final = 15.0
"""The maximum: a worker that took the cluster over from another process is not notified of the return."""


class Outages:
    """The clusters of one process that wait for the engine or the database, and the last pause of each in seconds."""

    def __init__(self, store: Store, *, first_seconds: float = 0.25) -> None:
        self._store, self._first_seconds = store, first_seconds
        self._pauses: dict[str, float] = {}

    async def requeue(self, claim: Claim, error: InfrastructureError) -> RequeueAfter:
        """When the cluster is due again; records one event for each outage. Raises LeaseLost, DatabaseUnavailable."""
        cluster_id = claim.cluster.id
        before = self._pauses.get(cluster_id)
        pause = self._first_seconds if before is None else min(2 * before, _LONGEST_SECONDS)
        self._pauses[cluster_id] = pause
        if not isinstance(error, DatabaseUnavailable):
            last = await self._store.clusters.last_event(cluster_id)
            if last is None or (last.type, last.code) != ("step.waiting", error.code):
                waiting = NewEvent("step.waiting", error.waiting, error.step, code=error.code)
                await self._store.status.append_event(claim, waiting)
        return RequeueAfter(pause)

    def end(self, cluster_id: str) -> None:
        """A pass ended without an outage: the next outage starts with the shortest pause."""
        self._pauses.pop(cluster_id, None)

    async def wake(self) -> None:
        """The engine answers: all waiting clusters are due now. Raises DatabaseUnavailable."""
        waiting = tuple(self._pauses)
        await self._store.maintenance.requeue(waiting)
        for cluster_id in waiting:
            self.end(cluster_id)
