"""The real server under half-sent requests: callers still get in, and the log stays small."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from dayfly.api.dependencies import ApiServices
from dayfly.api.engine_lookups import EngineLookups
from dayfly.api.server import Server, create_server
from dayfly.domain.image import ImageManifest
from dayfly.errors import ImageMissing
from dayfly.store import AuditFilter, Store
from tests.support.api import ApiHttp, Infrastructure

PATIENCE = 20
HALF_SENT = 200


@asynccontextmanager
async def listening(services: ApiServices) -> AsyncIterator[tuple[Server, tuple[str, int]]]:
    """The server as `dayfly serve` has it, on a free port."""
    server = create_server(services)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            yield server, listener.getsockname()
            services.closing.set()
            server.should_exit = True


async def test_half_sent_requests_lock_nobody_out(
    store: Store, infrastructure: Infrastructure, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(infrastructure.services(store, {"max_connections": 20})) as (server, (host, port)):
        half = [await asyncio.open_connection(host, port) for _ in range(HALF_SENT)]
        for _, writer in half:
            writer.write(b"POST /v1/clusters HTTP/1.1\r\nHost: localhost\r\nX-")
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            answer = await http.get(f"http://{host}:{port}/healthz")
        assert answer.status_code == 200
        assert len(server.server_state.connections) <= 20
        for _, writer in half:
            writer.transport.abort()
    assert caplog.text == ""


async def test_the_audit_has_the_peers_address(store: Store, infrastructure: Infrastructure) -> None:
    """And not that which a caller writes into a header, which makes it a stranger: a proxy may have passed it on."""
    async with listening(infrastructure.services(store)) as (_, (host, port)), httpx.AsyncClient() as http:
        forged = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        assert (await http.delete(f"http://{host}:{port}/v1/clusters/none", headers=forged)).status_code == 401
    [entry] = await store.audit.page(AuditFilter())
    assert entry.address == "127.0.0.1"


async def test_a_half_sent_request_ends(store: Store, infrastructure: Infrastructure) -> None:
    async with listening(infrastructure.services(store, {"header_timeout_seconds": 0.05})) as (_, (host, port)):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /healthz HTTP/1.1\r\nX-")
        assert await reader.read() == b""
        writer.close()


async def test_a_half_sent_body_is_a_problem_and_the_end_of_the_connection(
    store: Store, infrastructure: Infrastructure
) -> None:
    async with listening(infrastructure.services(store, {"body_timeout_seconds": 0.05})) as (_, (host, port)):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /v1/clusters HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "body_too_slow"


async def test_a_request_over_the_bound_may_be_repeated_later(store: Store, infrastructure: Infrastructure) -> None:
    allowed = asyncio.Semaphore(0)
    asked = 0
    all_asked = asyncio.Event()

    async def hang(_reference: str) -> tuple[str, ImageManifest]:
        nonlocal asked
        asked += 1
        if asked == 16:
            all_asked.set()
        await allowed.acquire()
        raise ImageMissing("no image")

    lookups = EngineLookups(seconds=PATIENCE)
    services = infrastructure.services(store, {"max_connections": 16}, resolve_image=hang, lookups=lookups)
    async with listening(services) as (_, (host, port)), httpx.AsyncClient(timeout=PATIENCE) as http:
        url = f"http://{host}:{port}"
        creates = [asyncio.create_task(http.post(f"{url}/v1/clusters", json={"image": "bare"})) for _ in range(16)]
        await all_asked.wait()
        async with httpx.AsyncClient(timeout=PATIENCE) as other:
            refused = await other.get(f"{url}/healthz")
        for _ in creates:
            allowed.release()
        assert {(await create).status_code for create in creates} == {422}
        accepted = await http.get(f"{url}/healthz")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_connections")
    assert (refused.headers["retry-after"], refused.headers["connection"]) == ("5", "close")
    assert accepted.status_code == 200


async def test_very_many_filters_are_refused(store: Store, infrastructure: Infrastructure) -> None:
    query = "&".join(f"label=key{number}=value" for number in range(3000))
    async with listening(infrastructure.services(store)) as (_, (host, port)), httpx.AsyncClient() as http:
        answer = await http.get(f"http://{host}:{port}/v1/clusters?{query}")
    assert (answer.status_code, answer.json()["code"]) == (414, "uri_too_long")


async def test_a_body_that_does_not_come_is_not_waited_for(store: Store, infrastructure: Infrastructure) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    services = infrastructure.services(store, {"body_timeout_seconds": 0.01})
    async with ApiHttp(services) as http, asyncio.timeout(PATIENCE):
        with capture_logs() as logs:
            answer = await http.post("/v1/clusters", content=nothing())
    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
    assert logs == []
