"""Held responses: they are sent with the awaited commit, not by a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from typing import Any

import httpx
import pytest

from dayfly.clock import SystemClock
from dayfly.store import Store
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.held_responses import PATIENCE_SECONDS


@pytest.fixture
async def identity(http: httpx.AsyncClient) -> str:
    answer = await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    found: str = answer.json()["id"]
    return found


async def held(http: httpx.AsyncClient, url: str, meanwhile: Awaitable[Any], method: str = "GET") -> dict[str, Any]:
    """The answer to a request that the service holds before `meanwhile` happens."""
    assert isinstance(http, ApiHttp)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        answer = group.create_task(http.request(method, url, timeout=PATIENCE_SECONDS))
        await http.until_held()
        await meanwhile
    body: dict[str, Any] = answer.result().json()
    return body


async def test_ready(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    cluster = await held(http, "/v1/clusters/demo?wait=ready&timeout=60", worker.make())
    assert cluster["phase"] == "ready"


async def test_ready_ends_when_it_fails(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    cluster = await held(http, "/v1/clusters/demo?wait=ready&timeout=60", worker.fail({"console": "x"}))
    assert (cluster["phase"], cluster["error"]["evidence"]) == ("failed", ["console"])


async def test_ready_ends_when_it_is_to_be_deleted(http: httpx.AsyncClient, identity: str, store: Store) -> None:
    cluster = await held(http, "/v1/clusters/demo?wait=ready&timeout=60", store.lifecycle.delete(identity))
    assert (cluster["phase"], cluster["desired"]) == ("pending", "absent")


async def test_deleted(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    await http.delete("/v1/clusters/demo")
    cluster = await held(http, "/v1/clusters/demo?wait=deleted&timeout=60", worker.remove())
    assert (cluster["id"], cluster["phase"]) == (identity, "deleted")


async def test_a_deletion_that_is_waited_for(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    cluster = await held(http, "/v1/clusters/demo?wait=deleted&timeout=60", worker.remove(), "DELETE")
    assert cluster["phase"] == "deleted"


async def test_settled_means_gone_once_that_is_wanted(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    await worker.make()
    now = await http.get("/v1/clusters/demo?wait=settled&timeout=60")
    assert now.json()["phase"] == "ready"
    await http.delete("/v1/clusters/demo")
    cluster = await held(http, "/v1/clusters/demo?wait=settled&timeout=60", worker.remove())
    assert cluster["phase"] == "deleted"


async def test_no_time_is_one_look(http: httpx.AsyncClient, identity: str) -> None:
    cluster = (await http.get("/v1/clusters/demo?wait=ready&timeout=0")).json()
    assert cluster["phase"] == "pending"


async def test_when_time_is_over_it_tells_how_things_stand(store: Store, infrastructure: Infrastructure) -> None:
    class Leaping(SystemClock):
        """Each look at it is a minute later."""

        def __init__(self) -> None:
            self.seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 60
            return self.seconds

    async with ApiHttp(infrastructure.services(store, clock=Leaping())) as http:
        await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await http.get("/v1/clusters/demo?wait=ready&timeout=60")
    assert (answer.status_code, answer.json()["phase"]) == (200, "pending")


async def test_events_come_as_they_happen(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    before = (await http.get("/v1/clusters/demo/events")).json()
    news = await held(http, f"/v1/clusters/demo/events?after={before['next_after']}&wait=60", worker.make())
    assert news["events"]
    assert all(event["id"] > before["next_after"] for event in news["events"])
    assert datetime.fromisoformat(news["events"][0]["at"]).tzinfo is not None


async def test_following_a_deleted_cluster_ends(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    await http.delete("/v1/clusters/demo")
    await worker.remove()
    everything = (await http.get(f"/v1/clusters/{identity}/events")).json()
    async with asyncio.timeout(PATIENCE_SECONDS):
        after = everything["next_after"]
        answer = (await http.get(f"/v1/clusters/{identity}/events?after={after}&wait=3600")).json()
    assert (answer["events"], answer["phase"]) == ([], "deleted")


async def test_no_watch_is_left(http: httpx.AsyncClient, identity: str, worker: Worker, store: Store) -> None:
    await held(http, "/v1/clusters/demo?wait=ready&timeout=60", worker.make())
    assert not store._database.notifier._watches
