"""The server's HTTP connections: a bound on their number, and deadlines for what callers send; extends uvicorn's.

uvicorn waits without a deadline for a request's headers: half-sent requests keep connections, and with them the
process's open files, for ever. Not here: the deadline of a body that a request waits for (middleware.py).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from dayfly.api import problems
from dayfly.api.authentication import PEER_UID
from dayfly.api.request_checks import MAX_URL_BYTES, OVER_LIMIT

MAX_HEAD_BYTES: Final = 2 * MAX_URL_BYTES
"""Of a request's first line and headers, while they are incomplete."""

_log = structlog.get_logger(__name__)


class _Owed(Enum):
    """What the other side has to do next."""

    HEADERS = "send a request"
    BODY = "send the rest of a body"
    UNUSED_BODY = "send the rest of a body that is not read"
    RESPONSE = "take more of a response"
    CLOSE = "take the rest of a response, and close"


_WITHOUT_DEADLINE: Final = frozenset({_Owed.BODY, _Owed.RESPONSE})
"""A request has a deadline of its own for its body; whoever follows a console may stop to read."""


@dataclass(frozen=True)
class Connections:
    """Limits of a server's connections, and the connections whose other side owes something, the longest first."""

    maximum: int
    seconds: float
    """For a request's headers, for the rest of an answered request, and for the rest of a last response."""
    waiting: dict[BoundedProtocol, None] = field(default_factory=dict)

    def protocol_class(self) -> type[BoundedProtocol]:
        """The class that uvicorn makes one instance of for each connection."""
        return type("BoundedProtocol", (BoundedProtocol,), {"limits": self})


class BoundedProtocol(H11Protocol):
    """One connection.

    Above `maximum`, the connection that has waited longest for its caller is closed: half-sent requests cannot exclude
    new callers. If the others are all being answered, the request gets 503 `too_many_connections` (OVER_LIMIT).
    """

    limits: ClassVar[Connections]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, dict(app_state), _loop)
        self._owed: _Owed | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unsent = sys.maxsize
        """Bytes of a response that were left at the last deadline."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        peer = _peer_uid(transport.get_extra_info("socket"))
        if peer is not None:
            self.app_state[PEER_UID] = peer
        self._follow()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        self.app_state[OVER_LIMIT] = len(self.connections) > self.limits.maximum
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._follow()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._follow()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words
        """Answer what is no request, or too long for one, with a problem."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.drop()  # a response has begun
            return
        received, _ = self.conn.trailing_data
        response = problems.unreadable_request(len(received) > MAX_HEAD_BYTES, has_url=b"\n" in received)
        # No middleware sees it: the request was not understood.
        response.headers.update(problems.SECURITY_HEADERS)
        headers = [*response.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=response.status_code, headers=headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close the connection at once, without the rest of a response."""
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.abort()

    def _make_room(self) -> None:
        """Close the connection that waited longest, if there are too many."""
        oldest = next(iter(self.limits.waiting))
        if len(self.connections) > self.limits.maximum and oldest is not self:
            _log.warning("too many connections: the one that waited longest is closed", maximum=self.limits.maximum)
            oldest.drop()

    def _follow(self) -> None:
        """Begin a new deadline if the other side owes something else than before: bytes alone do not prolong one."""
        owed = self._owes()
        if owed is self._owed:
            return
        self._stop_waiting()
        self._owed = owed
        if owed is not None:
            self.limits.waiting[self] = None
        if owed is not None and owed not in _WITHOUT_DEADLINE:
            self._unsent = sys.maxsize
            self._deadline = self.loop.call_later(self.limits.seconds, self._expire)

    def _owes(self) -> _Owed | None:
        if self.transport.is_closing():
            return _Owed.CLOSE
        if self.flow.write_paused and self.cycle is not None and not self.cycle.response_complete:
            return _Owed.RESPONSE
        if self.conn.their_state is h11.IDLE:
            return _Owed.HEADERS
        if self.conn.their_state is not h11.SEND_BODY:
            return None
        return _Owed.UNUSED_BODY if self.cycle.response_complete else _Owed.BODY

    def _expire(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:  # a slow caller still takes the last response
            self._unsent = unsent
            self._deadline = self.loop.call_later(self.limits.seconds, self._expire)
            return
        owed = "" if self._owed is None else self._owed.value
        _log.info("a caller's time is over: the connection is closed", owed=owed, seconds=self.limits.seconds)
        self.drop()

    def _stop_waiting(self) -> None:
        self._owed = None
        self.limits.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _peer_uid(connection: Any) -> int | None:
    """The user at the other end of a unix socket, as the kernel knows it; None: it is no unix socket."""
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)
