"""Connections are bounded, whoever opens them and however little they say. A real server, on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import uvicorn
from asgi_correlation_id import CorrelationIdMiddleware
from starlette.types import Receive, Scope, Send

from dayfly.api.http_server import MAX_HEAD_BYTES, bounded_http
from dayfly.api.middleware import Gate

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Up to the end of its headers."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def ended(self) -> bytes:
        """What came until the server closed the connection."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


class App:
    """Answers 200 when `may_answer` is set."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


@asynccontextmanager
async def serving(
    app: Callable[..., object], *, connections: int = 100, header_seconds: float = 60.0
) -> AsyncIterator[Callable[[], asyncio.Future[Connection]]]:
    """Opens connections to a server of `app`."""
    protocol = bounded_http(connections, header_seconds)
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False, http=protocol)
    config.h11_max_incomplete_event_size = MAX_HEAD_BYTES
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    opened: list[Connection] = []

    async def connect() -> Connection:
        opened.append(Connection(*await asyncio.open_connection("127.0.0.1", port)))
        return opened[-1]

    try:
        async with asyncio.timeout(20):
            yield lambda: asyncio.ensure_future(connect())
    finally:
        for connection in opened:
            connection.writer.close()
        server.should_exit = True
        await server.shutdown()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: he"])
async def test_headers_that_do_not_come_end_the_connection(sent: bytes) -> None:
    async with serving(App(), header_seconds=0.05) as connect:
        slow = await connect()
        await slow.send(sent)
        assert await slow.ended() == b""


async def test_a_second_request_that_is_not_completed_ends_the_connection() -> None:
    async with serving(App(), header_seconds=0.05) as connect:
        connection = await connect()
        await connection.send(REQUEST)
        assert (await connection.answer()).startswith(b"HTTP/1.1 200")
        await connection.send(REQUEST[:-3])
        assert await connection.ended() == b""


async def test_an_answer_that_is_held_longer_than_headers_may_take_is_given() -> None:
    app = App()
    app.may_answer.clear()
    async with serving(app, header_seconds=0.5) as connect:
        held = await connect()
        await held.send(REQUEST)
        slow = await connect()
        assert await slow.ended() == b""  # by now the time of both is over
        app.may_answer.set()
        assert (await held.answer()).startswith(b"HTTP/1.1 200")


async def test_requests_that_are_half_sent_lock_nobody_out() -> None:
    async with serving(App(), connections=50) as connect:
        half = [await connect() for _ in range(200)]
        for connection in half:
            await connection.send(REQUEST[:-3])
        served = await connect()
        await served.send(REQUEST)
        assert (await served.answer()).startswith(b"HTTP/1.1 200")
        # The oldest went.
        assert await half[0].ended() == b""
        await half[-1].send(REQUEST[-3:])
        assert (await half[-1].answer()).startswith(b"HTTP/1.1 200")


async def test_where_every_connection_has_a_request_a_further_one_is_closed() -> None:
    app = App()
    app.may_answer.clear()
    async with serving(app, connections=3) as connect:
        held = [await connect() for _ in range(3)]
        for connection in held:
            await connection.send(REQUEST)
        await asyncio.sleep(0)
        assert await (await connect()).ended() == b""
        app.may_answer.set()
        for connection in held:
            assert (await connection.answer()).startswith(b"HTTP/1.1 200")


async def test_a_body_that_does_not_come_is_answered() -> None:
    gate = CorrelationIdMiddleware(Gate(App(), None, asyncio.Event(), body_seconds=0.05))
    async with serving(gate) as connect:
        slow = await connect()
        await slow.send(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nx")
        head, _, body = (await slow.ended()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        assert json.loads(body)["code"] == "body_too_slow"


async def test_a_target_too_long_is_called_that() -> None:
    gate = CorrelationIdMiddleware(Gate(App(), None, asyncio.Event()))
    async with serving(gate) as connect:
        caller = await connect()
        await caller.send(REQUEST.replace(b"/ ", b"/?" + b"x" * 20_000 + b" ", 1))
        head, _, body = (await caller.answer() + await caller.reader.read(2000)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 414")
        assert json.loads(body)["code"] == "uri_too_long"


NOT_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a head without end": b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1),
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_cannot_be_read_is_answered_with_a_problem(sent: bytes) -> None:
    async with serving(App()) as connect:
        stranger = await connect()
        await stranger.send(sent)
        head, _, body = (await stranger.ended()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == "bad_http"
