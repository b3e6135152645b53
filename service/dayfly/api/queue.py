"""Where waiting clusters stand in the queue, and when they will begin. Not here: who is next
(domain/scheduling/resources.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.scheduling.fair_queue import admissible, outlook
from dayfly.errors import DockerUnavailable

if TYPE_CHECKING:
    from dayfly.api.services import ApiServices  # which holds a QueueMemory

LONG_QUEUE: Final = 50
REST_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    """A place in the queue, counted from 1; when it will be admitted, and ready. None: no place, or no telling."""

    position: int | None = None
    start_at: datetime | None = None
    ready_at: datetime | None = None


NOWHERE: Final = Place()
"""Of a cluster that does not wait."""


@dataclass
class QueueMemory:
    """The last look at a long queue, good for all who ask until then (as Clock.monotonic counts).

    Looking costs time in proportion to the queue's length. Where a thousand wait, each request that looked for itself
    would keep the next one from being answered.
    """

    places: Mapping[str, Place] = field(default_factory=dict)
    good_until: float = -math.inf


async def places(clusters: Sequence[Cluster], services: ApiServices) -> Mapping[str, Place]:
    """By id, the places of those of `clusters` that wait; read only if one does, and a long queue only now and then."""
    waiting = {cluster.id for cluster in clusters if _waits(cluster)}
    if not waiting:
        return {}
    memory, now = services.queue_memory, services.clock.monotonic()
    seen = memory.places
    if now >= memory.good_until:
        if len(seen) > LONG_QUEUE:
            memory.good_until = now + REST_SECONDS  # while one looks, the others need not
        seen = memory.places = await _look(services)
        memory.good_until = now + REST_SECONDS if len(seen) > LONG_QUEUE else now
    return {cluster_id: place for cluster_id in waiting if (place := seen.get(cluster_id))}


async def _look(services: ApiServices) -> Mapping[str, Place]:
    try:
        host = await services.host.host()
    except DockerUnavailable as error:
        # Nobody is admitted either while the host is not known; what is known of the clusters can be shown.
        _log.warning("no places in the queue are known", code=error.code, reason=error.message)
        return {}
    store, offered = services.store, services.rules.offered(host.resources)
    queue, past = await store.queue(), await store.past()
    # Who leaves when matters only where there is not room for all at once.
    crowded = len(admissible(queue, offered)) < len(queue.waiting)
    occupants = await store.occupants() if crowded else ()
    served = outlook(queue, occupants, offered, past, services.clock.now())
    making = timedelta(seconds=past.provisioning_seconds) if past.provisioning_seconds is not None else None
    return {
        waiting.id: Place(position, start, start + making if start is not None and making is not None else None)
        for position, (waiting, start) in enumerate(served, start=1)
    }


def _waits(cluster: Cluster) -> bool:
    return cluster.phase is Phase.PENDING and cluster.admitted_at is None and cluster.desired is Desired.PRESENT
