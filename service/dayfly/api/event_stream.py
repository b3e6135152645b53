"""Streams of events as `text/event-stream`: which callers get one, where it begins, and its frames.

A stream keeps nothing but a cursor between two reads of the store, and one page of events during a read: PAGE events,
each with a message of at most 2,000 characters. A caller that reads slowly delays its own next read. Commits wake the
stream (store/notify/), as they wake long polls.

Not here: which events these are (clusters/routes_events.py, events.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import Header, Query, Request
from fastapi.sse import EventSourceResponse, format_sse_event

from dayfly.api.dependencies import ApiServices
from dayfly.api.long_poll import HeldStream, unless_closing
from dayfly.api.media_types import prefers
from dayfly.api.principals import require_still
from dayfly.api.problems import log_outage
from dayfly.errors import DatabaseUnavailable, Unauthenticated
from dayfly.schemas.clusters import Event
from dayfly.store import Watch

PAGE: Final = 50
"""Events of one read of the store."""
KEEP_ALIVE_SECONDS: Final = 15.0
"""Pause without an event of the stream after which a comment is sent, whatever else happens: proxies close silent
connections, and the caller may have left. The store is read as well, in case a notification was lost.
"""
RETRY_MILLISECONDS: Final = 1000
"""How long a caller waits before it connects again."""
MEDIA_TYPE: Final = "text/event-stream"

_MAX_ID: Final = 2**63 - 1
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Vary": "Accept",
    "X-Accel-Buffering": "no",  # nginx passes each frame on at once
}

After = Annotated[
    Annotated[int, Query(ge=0, le=_MAX_ID)] | Literal["latest"],
    Query(description="Only events with a greater id; `latest`: only events from now on."),
]
LastEventId = Annotated[
    int | None,
    Header(
        ge=0,
        le=_MAX_ID,
        description="As `after`, and goes before it: the id of the last event that the caller has.",
    ),
]
DESCRIPTION: Final = (
    "With `Accept: text/event-stream`, a stream of server-sent events. The data of each is an event as in JSON, on one "
    "line, and its id is the event's: who connects again with `Last-Event-ID` (or `after`) misses none and gets none "
    "twice, on any process of the service. Frames without data are keep-alives, and set the id. "
)
"""The first sentences of both streams' descriptions."""


@dataclass(frozen=True)
class Batch:
    """What one read of the store found. `end`: the data of the last frame, after which nothing will come."""

    events: Sequence[Event]
    until: int
    is_last: bool
    end: dict[str, str] | None = None


def wants_stream(request: Request) -> bool:
    """Whether the caller gets a stream, and not a page in JSON."""
    return prefers(request, MEDIA_TYPE)


def responses(json_model: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The entry `responses` of a route that answers with JSON or with a stream."""
    example = 'id: 7\ndata: {"id": 7, "type": "phase", "message": "provisioning → ready", …}\n\n'
    json_content = {"schema": {"$ref": f"#/components/schemas/{json_model}"}}
    stream = {"schema": {"type": "string", "description": description}, "example": example}
    return {200: {"content": {"application/json": json_content, MEDIA_TYPE: stream}}}


class EventStream(HeldStream, EventSourceResponse):
    """A held response of FastAPI's kind. Raises TooManyStreams, LongPollsExceeded."""

    def __init__(
        self,
        request: Request,
        services: ApiServices,
        watching: AbstractContextManager[Watch],
        read: Callable[[int], Awaitable[Batch]],
        after: int,
    ) -> None:
        frames = _frames(request, services, watching, read, after)
        super().__init__(request, services, services.streams, frames, MEDIA_TYPE, _HEADERS)


async def _frames(
    request: Request,
    services: ApiServices,
    watching: AbstractContextManager[Watch],
    read: Callable[[int], Awaitable[Batch]],
    after: int,
) -> AsyncGenerator[bytes]:
    # At once: the caller has a place to begin at even if the connection breaks before the first event.
    yield format_sse_event(id=str(after), retry=RETRY_MILLISECONDS)
    sent_at = services.clock.monotonic()
    with watching as watch:
        while not services.closing.is_set():
            try:
                await require_still(request)
                batch = await read(after)
            except Unauthenticated:
                break  # who connects again gets the problem
            except DatabaseUnavailable as error:
                log_outage(error)
                break  # who connects again gets the problem
            for event in batch.events:
                yield format_sse_event(id=str(event.id), data_str=event.model_dump_json())
            if batch.events:
                sent_at = services.clock.monotonic()
            after = batch.until
            if batch.end is not None:
                yield format_sse_event(id=str(after), event="end", data_str=json.dumps(batch.end))
                return
            if not batch.is_last:
                continue
            # Commits without an event of this stream wake it, too: they must not put off the comment.
            remaining = max(0.0, sent_at + KEEP_ALIVE_SECONDS - services.clock.monotonic())
            if remaining == 0 or await unless_closing(services, watch.wait(remaining)) is False:
                yield format_sse_event(id=str(after), comment="keep-alive")
                sent_at = services.clock.monotonic()
    yield format_sse_event(id=str(after), retry=RETRY_MILLISECONDS, comment="connect again")
