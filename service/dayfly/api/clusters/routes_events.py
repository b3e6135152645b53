"""/v1/clusters/{cluster}/events: what happened to one cluster, in order. Not here: frames (api/event_stream.py)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from dayfly.api.dependencies import Services
from dayfly.api.event_stream import (
    DESCRIPTION,
    PAGE,
    After,
    Batch,
    EventStream,
    LastEventId,
    responses,
    wants_stream,
)
from dayfly.api.long_poll import MAX_SECONDS, hold
from dayfly.api.parameters import TheCluster
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.errors import NotFound
from dayfly.schemas.clusters import Event, EventList

router: Final = APIRouter(prefix="/v1/clusters/{cluster}/events", tags=["events"])

_STREAM: Final = (
    f"{DESCRIPTION}The stream ends with a frame `event: end` when the cluster is deleted; without that frame, connect "
    "again."
)


@router.get("", operation_id="listEvents", response_model=EventList, responses=responses("EventList", _STREAM))
async def list_events(
    request: Request,
    response: Response,
    services: Services,
    cluster: TheCluster,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events of one page; of no effect on a stream.")] = 500,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_SECONDS,
            allow_inf_nan=False,
            description="Seconds to wait for an event if there is none; of no effect on a stream, which always waits.",
        ),
    ] = 0.0,
    last_event_id: LastEventId = None,
) -> EventList | Response:
    """List events of a cluster, oldest first, or stream them, with `Accept: text/event-stream`.

    To follow without a stream, repeat with `after` = `next_after` and a `wait`.
    """
    store = services.store.clusters
    begin = last_event_id if last_event_id is not None else after
    if begin == "latest":
        newest = await store.last_event(cluster.id)
        begin = 0 if newest is None else newest.id

    async def look() -> tuple[domain.Cluster, tuple[domain.Event, ...]]:
        # The cluster first: if the cluster is deleted, the second read includes its last event.
        current = await store.get(cluster.id)
        return current, await store.events(cluster.id, after=begin, limit=limit)

    def enough(seen: tuple[domain.Cluster, tuple[domain.Event, ...]]) -> bool:
        return bool(seen[1]) or seen[0].phase is Phase.DELETED

    async def read(cursor: int) -> Batch:
        try:
            current = await store.get(cluster.id)
        except NotFound:  # the record of a deleted cluster is removed after a time
            return Batch((), cursor, is_last=True, end={"phase": Phase.DELETED})
        found = await store.events(cluster.id, after=cursor, limit=PAGE)
        is_last = len(found) < PAGE
        over = is_last and current.phase is Phase.DELETED
        until = found[-1].id if found else cursor
        return Batch(tuple(map(Event.of, found)), until, is_last, {"phase": current.phase} if over else None)

    if wants_stream(request):
        return EventStream(request, services, services.store.watch(cluster.id), read, begin)
    response.headers["Vary"] = "Accept"
    current, events = await hold(request, services, cluster.id, look, enough, wait)
    return EventList(
        events=tuple(map(Event.of, events)),
        next_after=events[-1].id if events else begin,
        phase=current.phase,
    )
