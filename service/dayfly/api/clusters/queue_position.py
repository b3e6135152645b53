"""Positions of waiting clusters in the queue, and when they will begin.

Not here: the order of the queue (domain/scheduling/fair_queue.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from dayfly.api.queue_cache import QueuePosition
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.scheduling.fair_queue import admissible, outlook
from dayfly.errors import EngineUnavailable

if TYPE_CHECKING:
    from dayfly.api.dependencies import ApiServices  # which holds a QueueCache

LONG_QUEUE: Final = 50
REST_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


async def queue_positions(clusters: Sequence[Cluster], services: ApiServices) -> Mapping[str, QueuePosition]:
    """Id → position of those of `clusters` that wait. Reads the queue only if one waits; caches a long queue."""
    waiting = {cluster.id for cluster in clusters if _waits(cluster)}
    if not waiting:
        return {}
    memory, now = services.queue_cache, services.clock.monotonic()
    seen = memory.positions
    if now >= memory.good_until:
        if len(seen) > LONG_QUEUE:
            memory.good_until = now + REST_SECONDS  # concurrent requests use the old positions
        seen = memory.positions = await _look(services)
        memory.good_until = now + REST_SECONDS if len(seen) > LONG_QUEUE else now
    return {cluster_id: place for cluster_id in waiting if (place := seen.get(cluster_id))}


async def _look(services: ApiServices) -> Mapping[str, QueuePosition]:
    try:
        host = await services.lookups.bounded(services.host_capacity())
    except EngineUnavailable as error:
        # Without the host's size admission waits, too. Clusters are still shown, without positions.
        _log.warning("queue positions are unknown", code=error.code, reason=error.for_operator)
        return {}
    store, offered = services.store, services.rules.offered(host)
    queue, past = await store.admission.queue(), await store.admission.duration_stats()
    # The ends of running clusters matter only if not all waiting clusters fit now.
    crowded = len(admissible(queue, offered)) < len(queue.waiting)
    occupants = await store.admission.occupants() if crowded else ()
    served = outlook(queue, occupants, offered, past, services.clock.now())
    making = timedelta(seconds=past.provisioning_seconds) if past.provisioning_seconds is not None else None
    return {
        waiting.id: QueuePosition(position, start, start + making if start is not None and making is not None else None)
        for position, (waiting, start) in enumerate(served, start=1)
    }


def _waits(cluster: Cluster) -> bool:
    return cluster.phase is Phase.PENDING and cluster.admitted_at is None and cluster.desired is Desired.PRESENT
