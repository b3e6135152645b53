"""Creates on an engine that hangs, and for callers that have left: no cluster is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from dayfly.api.app import create_api
from dayfly.api.dependencies import ApiServices
from dayfly.api.engine_lookups import EngineLookups
from dayfly.domain.image import ImageManifest
from dayfly.errors import EngineUnavailable
from dayfly.store import Store
from tests.support.api import ApiHttp, Infrastructure

BODIES: Mapping[str, Mapping[str, object]] = {
    "/v1/clusters": {"name": "demo", "image": "bare"},
    "/v1/templates": {"image": "bare"},
    "/v1/pools": {"name": "demo", "image": "bare", "size": 1},
}


async def recorded(http: httpx.AsyncClient) -> list[object]:
    """All that is recorded of clusters, templates and pools."""
    return [one for path in BODIES for one in (await http.get(path)).json()[path.removeprefix("/v1/")]]


async def hang(*_: object) -> tuple[str, ImageManifest]:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("path", "hanging"),
    [
        *((path, hanging) for path in BODIES for hanging in ("resolve_image", "host_capacity")),
        ("/v1/templates", "template_key_of"),
        ("/v1/clusters", "template_key_of"),
    ],
)
async def test_an_engine_that_hangs(store: Store, infrastructure: Infrastructure, path: str, hanging: str) -> None:
    changes: dict[str, Any] = {hanging: hang, "lookups": EngineLookups(seconds=0.01)}
    services = infrastructure.services(store, {"fork_memory_overcommit": 2.0}, **changes)
    async with ApiHttp(services) as http:
        answer = await http.post(path, json=BODIES[path])
        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert await recorded(http) == []
    for task in services.lookups.unfinished:
        task.cancel()


async def test_a_console_of_an_engine_that_hangs(store: Store, infrastructure: Infrastructure) -> None:
    services = infrastructure.services(store, read_console=hang, lookups=EngineLookups(seconds=0.01))
    async with ApiHttp(services) as http:
        await http.post("/v1/clusters", json=BODIES["/v1/clusters"])
        answer = await http.get("/v1/clusters/demo/nodes/node01/console")
    assert answer.json()["code"] == "engine_unavailable"


async def test_a_long_lookup_goes_on_for_the_next_request() -> None:
    lookups, answers = EngineLookups(seconds=0.001), asyncio.Event()
    with pytest.raises(EngineUnavailable, match="did not answer"):
        await lookups.bounded(answers.wait())
    [going_on] = lookups.unfinished
    answers.set()
    assert await going_on
    await asyncio.sleep(0)
    assert not lookups.unfinished


async def test_lookups_do_not_pile_up() -> None:
    lookups = EngineLookups(seconds=0.001)
    for _ in range(20):
        with pytest.raises(EngineUnavailable, match="did not answer"):
            await lookups.bounded(hang())
    assert len(lookups.unfinished) == 8
    for task in lookups.unfinished:
        task.cancel()


async def left(services: ApiServices, path: str, body: bytes) -> list[object]:
    """The answer to a caller that sends a request and leaves."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[object] = []

    async def receive() -> Mapping[str, object]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8700),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await create_api(services)(scope, receive, send)  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("path", BODIES)
async def test_nothing_is_recorded_for_a_caller_that_left(
    store: Store, infrastructure: Infrastructure, path: str
) -> None:
    services = infrastructure.services(store)
    body = httpx.Request("POST", "http://x", json=dict(BODIES[path])).content
    assert await left(services, path, body) == []
    async with ApiHttp(services) as http:
        assert await recorded(http) == []
