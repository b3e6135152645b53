"""Responses when the service stops: the present state, the end of a stream, or a problem with Retry-After."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from dayfly.api.app import create_api
from dayfly.api.dependencies import ApiServices
from dayfly.api.engine_lookups import EngineLookups
from dayfly.domain.image import ImageManifest
from dayfly.store import Store
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.held_responses import PATIENCE_SECONDS


@asynccontextmanager
async def serving(services: ApiServices) -> AsyncIterator[str]:
    """The URL of a server, which is stopped at the end of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_api(services), lifespan="off", log_config=None, timeout_graceful_shutdown=0)
    )
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        services.closing.set()
        server.should_exit = True


@pytest.mark.parametrize("query", ["?wait=ready&timeout=60", "/events?after=1000&wait=60"])
async def test_held_answers_end_with_the_present_state(
    store: Store, infrastructure: Infrastructure, query: str
) -> None:
    services = infrastructure.services(store)
    async with ApiHttp(services) as http, asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        held = group.create_task(http.get(f"/v1/clusters/demo{query}", timeout=PATIENCE_SECONDS))
        await http.until_held()
        services.closing.set()
        answer = await held
    assert (answer.status_code, answer.json()["phase"]) == (200, "pending")
    assert not store._database.notifier._watches


async def test_a_followed_console_breaks_off(
    store: Store, infrastructure: Infrastructure, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Its complete end would mean that the node has ended."""

    async def follow(_cluster: str, _node: str) -> AsyncIterator[bytes]:
        yield b"more\n"
        await asyncio.Event().wait()

    services = infrastructure.services(store, follow_console=follow)
    read = b""
    async with serving(services) as url, httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http:
        await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        await worker.make()
        path = "/v1/clusters/demo/nodes/node01/console?follow=true&tail_bytes=7"

        async def read_on() -> None:
            nonlocal read
            async with http.stream("GET", path) as followed:
                async for part in followed.aiter_raw():
                    read += part
                    if read.endswith(b"more\n"):
                        services.closing.set()

        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            await read_on()
    assert read == b"login: more\n"
    assert "Traceback" not in caplog.text


async def test_a_followed_console_is_complete_when_the_node_ended(store: Store, infrastructure: Infrastructure) -> None:
    async with serving(infrastructure.services(store)) as url, httpx.AsyncClient(base_url=url) as http:
        await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        followed = await http.get("/v1/clusters/demo/nodes/node01/console?follow=true&tail_bytes=7")
    assert followed.text == "login: caf\u00e9\n"


async def test_a_request_that_the_stopping_server_cancels_is_a_problem(
    store: Store, infrastructure: Infrastructure, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()

    async def hang(_reference: str) -> tuple[str, ImageManifest]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    services = infrastructure.services(store, resolve_image=hang, lookups=EngineLookups(seconds=PATIENCE_SECONDS))
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as http:
        async with serving(services) as url:
            create = asyncio.create_task(http.post(f"{url}/v1/clusters", json={"name": "demo", "image": "bare"}))
            await asked.wait()
        answer = await create
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert (answer.json()["code"], answer.headers["retry-after"]) == ("shutting_down", "5")
    assert "Traceback" not in caplog.text


async def test_any_other_cancellation_is_one(store: Store, infrastructure: Infrastructure) -> None:
    asked = asyncio.Event()

    async def hang(_reference: str) -> tuple[str, ImageManifest]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with ApiHttp(infrastructure.services(store, resolve_image=hang)) as http:
        create = asyncio.create_task(http.post("/v1/clusters", json={"name": "demo", "image": "bare"}))
        await asked.wait()
        create.cancel()
        with pytest.raises(asyncio.CancelledError):
            await create
