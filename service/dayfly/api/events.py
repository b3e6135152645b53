"""/v1/events: what happened to all clusters, in order. Not here: frames (event_stream.py)."""

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
from dayfly.api.parameters import Labels, parse_labels
from dayfly.api.principals import Caller
from dayfly.domain.cluster.model import Purpose
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.schemas.clusters import ClusterEvent, ClusterEventList
from dayfly.store import ClusterEvent as StoredEvent
from dayfly.store import EventFilter

router: Final = APIRouter(prefix="/v1/events", tags=["events"])

_STREAM: Final = f"{DESCRIPTION}The stream ends only with the service: then connect again."
_MOST: Final = 50


@router.get(
    "",
    operation_id="listAllEvents",
    response_model=ClusterEventList,
    responses=responses("ClusterEventList", _STREAM),
)
async def list_all_events(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    cluster: Annotated[
        list[Annotated[str, Query(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]],
        Query(max_length=_MOST, description="Any of the given ids and names; a name finds deleted clusters, too."),
    ] = [],  # noqa: B006
    owner: Annotated[
        str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Clusters of this owner.")
    ] = None,
    label: Labels = [],  # noqa: B006
    kind: Annotated[
        list[Annotated[str, Query(pattern=r"^[a-z][a-z_.]{0,63}$")]],
        Query(max_length=_MOST, description="Any of the given types of events, such as `phase`."),
    ] = [],  # noqa: B006
    purpose: Annotated[
        list[Purpose],
        Query(
            max_length=len(Purpose),
            description="Any of the given purposes. Default: callers' clusters, not those of templates and pools.",
        ),
    ] = [],  # noqa: B006
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events of one page; of no effect on a stream.")] = 500,
    last_event_id: LastEventId = None,
) -> ClusterEventList | Response:
    """List events of all clusters, oldest first, or stream them, with `Accept: text/event-stream`.

    Owner, labels and purpose are compared as the cluster has them now. The next page: `after` = `next_after`. Of a
    deleted cluster, events are kept as long as its record.
    """
    feed = services.store.event_feed
    begin = last_event_id if last_event_id is not None else after
    if begin == "latest":
        begin = await feed.newest()
    which = EventFilter(
        clusters=frozenset(cluster),
        owner=owner,
        labels=parse_labels(label),
        types=frozenset(kind),
        purposes=frozenset(purpose or {Purpose.CLUSTER}),
        scope=caller.scope,
    )

    async def read(cursor: int) -> Batch:
        page = await feed.page(which, after=cursor, limit=PAGE)
        return Batch(tuple(map(_show, page.events)), page.until, page.is_last)

    if wants_stream(request):
        return EventStream(request, services, services.store.watch_events(), read, begin)
    response.headers["Vary"] = "Accept"
    page = await feed.page(which, after=begin, limit=limit)
    return ClusterEventList(events=tuple(map(_show, page.events)), next_after=page.until)


def _show(found: StoredEvent) -> ClusterEvent:
    return ClusterEvent.of(found.event, cluster=found.cluster_id, cluster_name=found.cluster_name, owner=found.owner)
