"""How streams of events are requested and read. Both clients use it. Not here: when they are requested again."""

from __future__ import annotations

import json
from typing import Final, TypeVar

import httpx
from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from dayfly.client.transport import not_dayfly
from dayfly.schemas.base import FROM_SERVER
from dayfly.schemas.clusters import ClusterEventList, EventList

P = TypeVar("P", EventList, ClusterEventList)

MEDIA_TYPE: Final = "text/event-stream"


def headers(after: int) -> dict[str, str]:
    """A server of an older release has no stream, and answers with a page."""
    return {"Accept": f"{MEDIA_TYPE}, application/json;q=0.5", "Last-Event-ID": str(after)}


def is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower() == MEDIA_TYPE


def page_of(kind: type[P], frame: ServerSentEvent, response: httpx.Response) -> P:
    """A frame as a page of at most one event. Raises ApiError where it is none of Dayfly's."""
    try:
        page: dict[str, object] = {"events": [], "next_after": int(frame.id), "phase": ""}
        if frame.event == "end":
            page["phase"] = json.loads(frame.data)["phase"]
        elif frame.data and frame.event == "message":
            page["events"] = [json.loads(frame.data)]
        return kind.model_validate(page, context=FROM_SERVER)
    except (ValidationError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise not_dayfly(response) from error


def is_end(page: EventList | ClusterEventList) -> bool:
    """Whether nothing will come after `page`: the cluster is deleted."""
    return isinstance(page, EventList) and page.phase == "deleted" and not page.events
