"""Capacity checks: refusals that name a shape that fits, and positions in the queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from dayfly.api.clusters import queue_position
from dayfly.clock import SystemClock
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import EngineUnavailable
from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.api import RULES, ApiHttp, Infrastructure, Worker

HALF = {"image": "bare", "control_plane": {"vcpus": 8}, "workers": {"count": 1, "vcpus": 8}}
"""Half of the vCPUs that the host offers."""


async def create(http: httpx.AsyncClient, name: str, **body: object) -> dict[str, Any]:
    answer = await http.post("/v1/clusters", json={"name": name, **HALF, **body})
    assert answer.status_code == 202, answer.text
    cluster: dict[str, Any] = answer.json()
    return cluster


async def positions(http: httpx.AsyncClient) -> dict[str, int | None]:
    clusters = (await http.get("/v1/clusters")).json()["clusters"]
    return {one["name"]: one["queue_position"] for one in clusters}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"control_plane": {"vcpus": 9}}, "a node would have 9 vCPUs, and the host has 8 CPUs"),
        ({"workers": {"count": 1, "vcpus": 2**31 - 1}}, "the host has 8 CPUs"),
        # 15360 MiB offered: 512 + 128 + 64 for the first node, 4000 + 128 for each worker
        ({"workers": {"count": 9, "memory_mib": 4000}}, "3 workers of this size would fit"),
        ({"workers": {"count": 80, "vcpus": 8}}, "3 workers of this size would fit"),
        ({"workers": {"count": 90, "disk_gib": 150}}, "1 worker of this size would fit"),
        ({"workers": {"count": 1, "memory_mib": 15000}}, "no worker of this size"),
        (
            {"control_plane": {"memory_mib": 16000}},
            "a single node could have up to 8 vCPUs, 15168 MiB of memory and 200 GiB of disk",
        ),
        ({"control_plane": {"disk_gib": 201}}, "the cluster needs 2 vCPUs, 704 MiB of memory and 201 GiB of disk"),
    ],
)
async def test_what_can_never_fit_is_refused_with_what_would(
    http: httpx.AsyncClient, store: Store, body: dict[str, Any], told: str
) -> None:
    problem = check_problem(await http.post("/v1/clusters", json={"image": "bare", **body}), 422, "capacity")
    assert told in problem["detail"]
    assert (await store.clusters.list()).clusters == ()


async def test_all_that_would_fit_does(http: httpx.AsyncClient) -> None:
    body = {"image": "bare", "control_plane": {"vcpus": 8, "memory_mib": 15168, "disk_gib": 200}}
    assert (await http.post("/v1/clusters", json=body)).status_code == 202
    body = {"image": "bare", "workers": {"count": 3, "memory_mib": 4000}}
    assert (await http.post("/v1/clusters", json=body)).status_code == 202


async def test_a_host_with_room_for_nothing(store: Store, infrastructure: Infrastructure) -> None:
    async def tiny() -> Resources:
        return Resources(vcpus=2, memory_mib=RULES.reserve_memory_mib, disk_gib=100)

    async with ApiHttp(infrastructure.services(store, host_capacity=tiny)) as http:
        problem = check_problem(await http.post("/v1/clusters", json={"image": "bare"}), 422, "capacity")
    assert "no cluster fits" in problem["detail"]


async def test_places_are_fair_between_owners(http: httpx.AsyncClient, worker: Worker) -> None:
    for name in ("a1", "a2"):
        await create(http, name, owner="a")
    assert await positions(http) == {"a1": 1, "a2": 2}
    assert len(await worker.admit()) == 2
    await create(http, "a3", owner="a")
    await create(http, "a4", owner="a")
    last = await create(http, "b1", owner="b")
    assert last["queue_position"] == 1
    assert await positions(http) == {"a1": None, "a2": None, "a3": 2, "a4": 3, "b1": 1}
    seen = (await http.get("/v1/clusters/a3")).json()
    assert (seen["phase"], seen["queue_position"], seen["admitted_at"]) == ("pending", 2, None)
    assert (await http.get("/v1/clusters/a1")).json()["admitted_at"] is not None
    await http.delete("/v1/clusters/b1")
    assert await positions(http) == {"a1": None, "a2": None, "a3": 1, "a4": 2, "b1": None}


async def test_without_a_past_there_is_no_telling_when(http: httpx.AsyncClient, worker: Worker) -> None:
    for name in ("one", "two"):
        await create(http, name)
    await worker.admit()
    await create(http, "three")
    waiting = (await http.get("/v1/clusters/three")).json()
    assert waiting["queue_position"] == 1
    assert (waiting["estimated_start_at"], waiting["estimated_ready_at"]) == (None, None)


async def test_estimates_come_from_expiries_and_the_past(http: httpx.AsyncClient, worker: Worker) -> None:
    """The first one's time is over in ten minutes; making one took next to no time."""
    await create(http, "short", ttl_seconds=600)
    short = await worker.make()
    await create(http, "long", ttl_seconds=3600)
    await worker.make()
    await create(http, "waiting")
    assert short.ready_at is not None
    waiting = (await http.get("/v1/clusters/waiting")).json()
    start = datetime.fromisoformat(waiting["estimated_start_at"])
    assert start == short.ready_at + timedelta(seconds=600)
    assert start <= datetime.fromisoformat(waiting["estimated_ready_at"]) < start + timedelta(seconds=60)


async def test_one_that_fits_begins_now(http: httpx.AsyncClient) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # SQLite's clock has no finer unit
    made = await create(http, "demo")
    assert made["queue_position"] == 1
    assert before <= datetime.fromisoformat(made["estimated_start_at"]) <= datetime.now(UTC)


async def test_a_long_queue_is_read_now_and_then(
    store: Store, infrastructure: Infrastructure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(SystemClock):
        seconds = 0.0

        def monotonic(self) -> float:
            return self.seconds

    monkeypatch.setattr(queue_position, "LONG_QUEUE", 2)
    clock = Stopped()
    async with ApiHttp(infrastructure.services(store, clock=clock)) as http:
        made = [(await create(http, f"demo-{number}"))["queue_position"] for number in range(4)]
        assert made == [1, 2, 3, None]
        await http.delete("/v1/clusters/demo-0")
        assert await positions(http) == {"demo-0": None, "demo-1": 2, "demo-2": 3, "demo-3": None}
        clock.seconds += queue_position.REST_SECONDS
        assert await positions(http) == {"demo-0": None, "demo-1": 1, "demo-2": 2, "demo-3": 3}


async def test_while_the_host_is_not_known_clusters_are_shown_without_a_place(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    await create(http, "demo")
    infrastructure.host.broken = EngineUnavailable("the engine does not answer")
    assert (await http.get("/v1/clusters/demo")).json()["queue_position"] is None
    assert await positions(http) == {"demo": None}
