"""The server's connections: deadlines and bound, on a transport in memory and in virtual time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Coroutine
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from dayfly.api.connections import MAX_HEAD_BYTES, BoundedProtocol, Connections
from dayfly.api.request_checks import OVER_LIMIT
from dayfly.api.server import OTHER_FILES, connections_for, metrics_socket
from dayfly.settings import Settings
from tests.support.virtual_time import VirtualLoop

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345"
SECONDS = 10.0


def in_virtual_time(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scenario)


class Transport(asyncio.Transport):
    """Records what is written, and reports the end to `protocol`, as a real transport does."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: BoundedProtocol | None = None
        self.written = b""
        self.reads = True
        self.closed: float | None = None
        """When, in virtual time."""
        self.closing = False
        self.unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        """Ends only when everything written was read."""
        self.closing = True
        if self.reads:
            self.abort()

    def abort(self) -> None:
        self.closing = True
        if self.closed is None:
            self.closed = asyncio.get_running_loop().time()
            asyncio.get_running_loop().call_soon(cast("BoundedProtocol", self.protocol).connection_lost, None)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Server:
    """Answers /healthz at once and /slow after an hour; never reads a body."""

    def __init__(self, maximum: int = 100) -> None:
        self.limits = Connections(maximum, SECONDS)
        self.state = ServerState()
        self.over_limit: list[bool] = []
        self.config = uvicorn.Config(
            self.app,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            http=self.limits.protocol_class(),
            ws="none",
            lifespan="off",
            log_config=None,
            interface="asgi3",
        )

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.over_limit.append(scope["state"][OVER_LIMIT])
        if scope["path"] == "/slow":
            await asyncio.sleep(3600)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def connect(self, *sent: bytes) -> Transport:
        transport = Transport()
        transport.protocol = self.limits.protocol_class()(self.config, self.state, {})
        transport.protocol.connection_made(transport)
        for data in sent:
            transport.protocol.data_received(data)
        return transport


async def drip(transport: Transport, data: bytes) -> None:
    """One byte each second, for a minute or until the connection is closed."""
    for number in range(60):
        await asyncio.sleep(1)
        if transport.closed is not None:
            return
        cast("BoundedProtocol", transport.protocol).data_received(data[number % len(data) :][:1])


def test_headers_have_a_deadline_that_bytes_do_not_prolong() -> None:
    async def scenario() -> None:
        server = Server()
        silent, half = server.connect(), server.connect(b"GET / HTTP/1.1\r\nX: ")
        await drip(half, b"a")
        assert (silent.closed, half.closed) == (SECONDS, SECONDS)
        assert not server.limits.waiting
        assert not server.state.connections

    in_virtual_time(scenario())


def test_a_request_that_is_being_answered_has_no_deadline() -> None:
    async def scenario() -> None:
        slow = Server().connect(REQUEST.replace(b"healthz", b"slow"))
        await asyncio.sleep(3599)
        assert slow.closed is None
        await asyncio.sleep(2)
        assert slow.written.endswith(b"ok")

    in_virtual_time(scenario())


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def scenario() -> None:
        transport = Server().connect()
        for _ in range(30):
            cast("BoundedProtocol", transport.protocol).data_received(REQUEST)
            await asyncio.sleep(4)
        assert transport.closed is None
        assert transport.written.count(b"200 OK") == 30

    in_virtual_time(scenario())


def test_the_rest_of_a_body_that_is_not_read_has_a_deadline() -> None:
    async def scenario() -> None:
        endless = Server().connect(UPLOAD.replace(b": 10", b": 1000"))
        await drip(endless, b"x")
        assert endless.written.endswith(b"ok")
        assert endless.closed == SECONDS

    in_virtual_time(scenario())


def test_a_caller_that_does_not_take_its_last_response_has_a_deadline() -> None:
    async def scenario() -> None:
        transport = Server().connect()
        transport.reads = False
        cast("BoundedProtocol", transport.protocol).data_received(LAST_REQUEST)
        await asyncio.sleep(60)
        assert transport.written.endswith(b"ok")
        assert transport.closed == SECONDS

    in_virtual_time(scenario())


def test_a_slow_caller_takes_its_response_as_long_as_it_takes_more() -> None:
    async def scenario() -> None:
        transport = Server().connect()
        transport.reads, transport.unsent = False, 500
        cast("BoundedProtocol", transport.protocol).data_received(LAST_REQUEST)
        await asyncio.sleep(1)
        for transport.unsent in (500, 400, 300, 200, 200, 200):
            await asyncio.sleep(SECONDS)
        assert transport.closed == 5 * SECONDS

    in_virtual_time(scenario())


def test_whoever_stops_to_read_a_stream_keeps_it_below_the_bound() -> None:
    async def scenario() -> None:
        server = Server(maximum=2)
        stopped = server.connect(REQUEST.replace(b"healthz", b"slow"))
        await asyncio.sleep(1)
        cast("BoundedProtocol", stopped.protocol).pause_writing()
        await asyncio.sleep(60)
        assert stopped.closed is None
        server.connect(REQUEST.replace(b"healthz", b"slow"))
        server.connect(REQUEST)
        assert stopped.closed == 61

    in_virtual_time(scenario())


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"no request\r\n\r\n", 400, "bad_http"),
        (b"GET /v1/clusters?" + b"label=a=b&" * MAX_HEAD_BYTES, 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * MAX_HEAD_BYTES, 431, "headers_too_large"),
    ],
)
def test_what_is_no_request_is_a_problem(sent: bytes, status: int, code: str) -> None:
    async def scenario() -> None:
        transport = Server().connect(sent)
        head, _, body = transport.written.partition(b"\r\n\r\n")
        problem = json.loads(body)
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"application/problem+json" in head
        assert (problem["status"], problem["code"]) == (status, code)
        assert f"x-request-id: {problem['request_id']}".encode() in head
        assert b"x-content-type-options: nosniff" in head.lower()
        assert b"cross-origin-resource-policy: same-origin" in head.lower()
        assert transport.closed == 0

    in_virtual_time(scenario())


def test_at_the_bound_the_connection_that_waited_longest_is_closed() -> None:
    async def scenario() -> None:
        server = Server(maximum=3)
        slow = server.connect(REQUEST.replace(b"healthz", b"slow"))
        upload, half = server.connect(), server.connect(b"GET / HT")
        await asyncio.sleep(1)
        cast("BoundedProtocol", upload.protocol).data_received(UPLOAD)  # a later wait than that for headers
        await asyncio.sleep(1)
        late = server.connect(REQUEST)
        await asyncio.sleep(0)
        assert [one.closed is None for one in (slow, upload, half, late)] == [True, True, False, True]
        assert len(server.state.connections) == 3
        assert not any(server.over_limit)

    in_virtual_time(scenario())


def test_where_all_others_are_being_answered_a_request_is_told_so() -> None:
    async def scenario() -> None:
        server = Server(maximum=2)
        slow = [server.connect(REQUEST.replace(b"healthz", b"slow")) for _ in range(2)]
        server.connect(REQUEST)
        await asyncio.sleep(0)
        assert server.over_limit == [False, False, True]
        assert [one.closed for one in slow] == [None, None]

    in_virtual_time(scenario())


def test_very_many_half_sent_requests_leave_the_newest_and_lock_nobody_out() -> None:
    async def scenario() -> None:
        server = Server(maximum=50)
        half = [server.connect(b"GET / HTTP/1.1\r\n") for _ in range(1100)]
        caller = server.connect(REQUEST)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert caller.written.endswith(b"ok")
        assert sum(one.closed is None for one in half) == 49
        assert len(server.state.connections) == 50

    in_virtual_time(scenario())


def test_few_open_files_are_not_all_for_connections() -> None:
    assert connections_for(OTHER_FILES + 1000) == 1000
    assert connections_for(1024) == 256


def test_connections_send_a_body_without_waiting_for_an_acknowledgement() -> None:
    """Connections inherit the option. uvicorn writes headers and body one after the other."""
    with metrics_socket(Settings(), 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
