"""Held responses: they are sent with the awaited commit, not by a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from dayfly.api.held_responses import HeldResponses
from dayfly.clock import SystemClock
from dayfly.store import Store
from tests.support.api import Infrastructure, Worker, http_client

PATIENCE = 20
"""Far more than any of these takes; reached only by a test that fails."""


@pytest.fixture
async def identity(http: httpx.AsyncClient) -> str:
    answer = await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    found: str = answer.json()["id"]
    return found


async def held(http: httpx.AsyncClient, url: str, meanwhile: Awaitable[Any], method: str = "GET") -> dict[str, Any]:
    """The answer to a request that is on its way before `meanwhile` happens."""
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        answer = group.create_task(http.request(method, url, timeout=PATIENCE))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not answer.done()
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


async def test_a_deletion_that_is_waited_for(http: httpx.AsyncClient, identity: str, store: Store) -> None:
    async def remove() -> None:
        with store.watch(identity) as watch:
            while (await store.clusters.get(identity)).desired != "absent":
                await watch.wait(PATIENCE)
        await Worker(store).remove()

    cluster = await held(http, "/v1/clusters/demo?wait=deleted&timeout=60", remove(), "DELETE")
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

    async with http_client(infrastructure.services(store, clock=Leaping())) as http:
        await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
        async with asyncio.timeout(PATIENCE):
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
    async with asyncio.timeout(PATIENCE):
        after = everything["next_after"]
        answer = (await http.get(f"/v1/clusters/{identity}/events?after={after}&wait=3600")).json()
    assert (answer["events"], answer["phase"]) == ([], "deleted")


async def test_no_watch_is_left(http: httpx.AsyncClient, identity: str, worker: Worker, store: Store) -> None:
    await held(http, "/v1/clusters/demo?wait=ready&timeout=60", worker.make())
    assert not store._database.notifier._watches


@dataclass
class Announced(HeldResponses):
    """`begun` is set once a response is held."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def hold(self) -> Iterator[None]:
        with super().hold():
            self.begun.set()
            yield


async def test_a_process_holds_so_many_answers_and_no_more(
    infrastructure: Infrastructure, store: Store, identity: str, worker: Worker
) -> None:
    url = "/v1/clusters/demo?wait=ready&timeout=60"
    responses = Announced(1)
    async with http_client(infrastructure.services(store, held=responses)) as http:

        async def others() -> None:
            await responses.begun.wait()
            for waiting in (url, "/v1/clusters/demo/events?after=100&wait=60"):
                refused = await http.get(waiting)
                assert (refused.status_code, refused.json()["code"]) == (503, "too_many_waits")
                assert int(refused.headers["Retry-After"]) > 0
            # Requests without `wait` and updates are answered at once.
            assert (await http.get("/v1/clusters/demo?wait=ready&timeout=0")).json()["phase"] == "pending"
            assert (await http.delete("/v1/clusters/demo?wait=deleted&timeout=60")).json()["desired"] == "absent"

        await held(http, url, others())
        assert (await http.get(url)).status_code == 200
