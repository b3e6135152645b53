"""/v1/clusters/{cluster}/events: what happened, in order."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request

from dayfly.api.dependencies import Services
from dayfly.api.long_poll import MAX_SECONDS, hold
from dayfly.api.parameters import TheCluster
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.schemas.clusters import Event, EventList

router: Final = APIRouter(prefix="/v1/clusters/{cluster}/events", tags=["events"])

_MAX_ID: Final = 2**63 - 1


@router.get("", operation_id="listEvents")
async def list_events(
    request: Request,
    services: Services,
    cluster: TheCluster,
    after: Annotated[int, Query(ge=0, le=_MAX_ID, description="Only events with a greater id.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    wait: Annotated[
        float,
        Query(ge=0, le=MAX_SECONDS, allow_inf_nan=False, description="Seconds to wait for an event if there is none."),
    ] = 0.0,
) -> EventList:
    """List events of a cluster, oldest first. To follow, repeat with `after` = `next_after` and a `wait`."""

    async def look() -> tuple[domain.Cluster, tuple[domain.Event, ...]]:
        # The cluster first: if the cluster is deleted, the second read includes its last event.
        current = await services.store.clusters.get(cluster.id)
        return current, await services.store.clusters.events(cluster.id, after=after, limit=limit)

    def enough(seen: tuple[domain.Cluster, tuple[domain.Event, ...]]) -> bool:
        return bool(seen[1]) or seen[0].phase is Phase.DELETED

    current, events = await hold(request, services, cluster.id, look, enough, wait)
    return EventList(
        events=tuple(map(Event.of, events)),
        next_after=events[-1].id if events else after,
        phase=current.phase,
    )
