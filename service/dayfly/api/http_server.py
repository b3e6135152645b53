"""Bounds of HTTP connections: how many there are, and how long each may take to send a request's headers.

uvicorn ends a connection that is idle between two requests; it has no limit for the first request, none for one that
arrives byte by byte, and answers in plain text whatever is not HTTP.
Not here: how long a body may take (middleware.py), how many answers are held (long_poll.py).
"""

from __future__ import annotations

import asyncio
import json
from typing import Final, cast

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from dayfly.api.problems import MEDIA_TYPE

HEADER_SECONDS: Final = 20.0
MAX_HEAD_BYTES: Final = 32 * 1024
"""Of a request's first line and headers. More than a target may have: one that is a little too long is answered."""
MAX_CONNECTIONS: Final = 512
"""Half of the file descriptors that a process has by default; the others are for engine, SSH and database."""

_LOG_SECONDS: Final = 60.0
"""Between two warnings: a flood of connections is not to become a flood of lines."""

_log = structlog.get_logger(__name__)


def bounded_http(
    max_connections: int = MAX_CONNECTIONS, header_seconds: float = HEADER_SECONDS
) -> type[asyncio.Protocol]:
    """uvicorn's protocol class for one server, with these bounds.

    A connection over the limit takes the place of that which has waited for a request's headers for longest, and is
    closed itself where every other has a request in progress.
    """
    waiting: dict[H11Protocol, asyncio.TimerHandle] = {}
    warned_at: float | None = None

    class BoundedHttp(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                self._warn()
                next(iter(waiting), self).transport.abort()
            if not transport.is_closing():
                self._watch_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_headers()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_watching()

        def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words
            problem = {"type": "urn:dayfly:problem:bad_http", "title": "The request cannot be read", "status": 400}
            detail = f"It is not HTTP/1.1, or its first line and headers have more than {MAX_HEAD_BYTES} bytes."
            body = json.dumps({**problem, "detail": detail, "code": "bad_http"}).encode()
            headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close"}
            response = h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request")
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _warn(self) -> None:
            nonlocal warned_at
            if warned_at is None or self.loop.time() - warned_at > _LOG_SECONDS:
                warned_at = self.loop.time()
                _log.warning("too many connections: the oldest are closed", limit=max_connections)

        def _watch_headers(self) -> None:
            """Start the timer when the next request is awaited, and stop it when its headers are there."""
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._stop_watching()
            elif self not in waiting:
                waiting[self] = self.loop.call_later(header_seconds, self.transport.abort)

        def _stop_watching(self) -> None:
            if (timer := waiting.pop(self, None)) is not None:
                timer.cancel()

    return cast("type[asyncio.Protocol]", BoundedHttp)
