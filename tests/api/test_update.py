"""PATCH: TTL, labels, hold. Heartbeats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.api import ApiHttp, Infrastructure, Worker

MAX_TTL, MAX_HOLD = 86400, 7200


async def create(http: httpx.AsyncClient, name: str = "demo", **body: object) -> dict[str, Any]:
    answer = await http.post("/v1/clusters", json={"name": name, "image": "bare", **body})
    assert answer.status_code == 202, answer.text
    cluster: dict[str, Any] = answer.json()
    return cluster


async def change(http: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await http.patch("/v1/clusters/demo", json=body)
    assert answer.status_code == 200, answer.text
    cluster: dict[str, Any] = answer.json()
    return cluster


async def lasting(http: httpx.AsyncClient) -> dict[str, Any]:
    """The cluster without its estimates, which move with the clock."""
    cluster = (await http.get("/v1/clusters/demo")).json()
    return {key: value for key, value in cluster.items() if not key.startswith("estimated_")}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def stories(http: httpx.AsyncClient) -> list[str]:
    events = (await http.get("/v1/clusters/demo/events")).json()["events"]
    return [event["message"] for event in events if event["type"] == "cluster.changed"]


async def test_a_time_to_live_counts_from_ready_however_often_it_is_said(
    http: httpx.AsyncClient, worker: Worker
) -> None:
    await create(http, ttl_seconds=600)
    before = await change(http, ttl_seconds=900)
    assert (before["ttl_seconds"], before["expires_at"], before["expires_because"]) == (900, None, None)
    ready = await worker.make()
    assert ready.ready_at is not None
    for _ in range(2):
        cluster = await change(http, ttl_seconds=1200)
        assert at(cluster["expires_at"]) == ready.ready_at + timedelta(seconds=1200)
        assert cluster["expires_because"] == "ttl"
    assert (await change(http, ttl_seconds=MAX_TTL))["ttl_seconds"] == MAX_TTL
    shorter = await change(http, ttl_seconds=300)
    assert at(shorter["expires_at"]) == ready.ready_at + timedelta(seconds=300)


async def test_null_takes_the_time_to_live_away(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, ttl_seconds=600)
    await worker.make()
    cluster = await change(http, ttl_seconds=None)
    assert (cluster["ttl_seconds"], cluster["expires_at"], cluster["expires_because"]) == (None, None, None)


async def test_null_is_the_servers_default_where_it_has_one(store: Store, infrastructure: Infrastructure) -> None:
    async with ApiHttp(infrastructure.services(store, {"default_ttl_seconds": 1800})) as http:
        assert (await create(http))["ttl_seconds"] == 1800
        assert (await change(http, ttl_seconds=60))["ttl_seconds"] == 60
        assert (await change(http, ttl_seconds=None))["ttl_seconds"] == 1800


async def test_idleness_is_changed_and_counts_from_then_on(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await worker.make()
    before = datetime.now(UTC) - timedelta(seconds=1)
    cluster = await change(http, idle_seconds=90)
    assert (cluster["idle_seconds"], cluster["phase"]) == (90, "ready")
    assert at(cluster["active_at"]) >= before
    assert (await change(http, labels={}))["idle_seconds"] == 90
    assert (await change(http, idle_seconds=None))["idle_seconds"] is None
    assert await stories(http) == [
        "hibernate when idle for: none → 90 s",
        "hibernate when idle for: 90 s → none",
    ]


@pytest.mark.parametrize("seconds", [59, 0, "90", 10**30])
async def test_idleness_has_its_limits(http: httpx.AsyncClient, seconds: object) -> None:
    await create(http)
    answer = await http.patch("/v1/clusters/demo", json={"idle_seconds": seconds})
    assert "idle_seconds" in check_problem(answer, 422, "invalid_request")["detail"]


async def test_isolation_is_decided_at_creation(http: httpx.AsyncClient) -> None:
    await create(http)
    answer = await http.patch("/v1/clusters/demo", json={"isolation": "strict"})
    assert "isolation" in check_problem(answer, 422, "invalid_request")["detail"]
    assert (await http.get("/v1/clusters/demo")).json()["isolation"] == "shared"


async def test_what_is_not_given_stays(http: httpx.AsyncClient) -> None:
    await create(http, ttl_seconds=600, labels={"team": "a", "job": "1"})
    made = await lasting(http)
    changed = await change(http, labels={"team": "b"})
    differs = {key for key in made if made[key] != changed[key]} - {"updated_at"}
    assert differs == {"labels"}
    assert changed["labels"] == {"team": "b"}
    found = (await http.get("/v1/clusters?label=team=b")).json()["clusters"]
    assert [one["name"] for one in found] == ["demo"]
    assert (await http.get("/v1/clusters?label=job=1")).json()["clusters"] == []


async def test_a_hold_is_set_shown_and_released(http: httpx.AsyncClient) -> None:
    await create(http)
    now = datetime.now(UTC) - timedelta(milliseconds=1)  # SQLite's clock has no finer unit
    hold = (await change(http, hold={"seconds": 600, "reason": "look at it", "vms": "stopped"}))["hold"]
    after = datetime.now(UTC)
    assert (hold["reason"], hold["vms"]) == ("look at it", "stopped")
    assert now <= at(hold["until"]) - timedelta(seconds=600) <= after
    until = (now + timedelta(hours=1)).replace(microsecond=0)
    east = until.isoformat().replace("+00:00", "Z")
    hold = (await change(http, hold={"until": east, "reason": "longer"}))["hold"]
    assert (at(hold["until"]), hold["vms"]) == (until, "running")
    assert (await change(http, hold=None))["hold"] is None
    assert len(await stories(http)) == 3


async def test_a_held_cluster_can_be_made_so(http: httpx.AsyncClient) -> None:
    made = await create(http, hold={"seconds": 60, "reason": "in case it fails"})
    assert made["hold"]["reason"] == "in case it fails"
    dry = await http.post(
        "/v1/clusters?dry_run=1", json={"image": "bare", "owner": "ci", "hold": {"seconds": 60, "reason": "x"}}
    )
    assert (dry.json()["owner"], dry.json()["hold"]["vms"]) == ("ci", "running")


async def test_releasing_the_hold_of_one_that_failed_needs_no_time_left(
    http: httpx.AsyncClient, worker: Worker
) -> None:
    await create(http, hold={"seconds": 60, "reason": "in case it fails"})
    await worker.fail({"console": "x"})
    released = await change(http, hold=None)
    assert (released["phase"], released["hold"]) == ("failed", None)
    assert released["failed_at"] is not None


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"ttl_seconds": MAX_TTL + 1}, "at most 86400"),
        ({"ttl_seconds": 10**30}, "at most 86400"),
        ({"hold": {"seconds": MAX_HOLD + 1, "reason": "x"}}, "at most 7200"),
        ({"hold": {"seconds": 10**30, "reason": "x"}}, "at most 7200"),
        ({"hold": {"until": "2020-01-01T00:00:00Z", "reason": "x"}}, "past"),
        ({"hold": {"until": "0001-01-01T00:00:00+23:59", "reason": "x"}}, "past"),
        ({"hold": {"until": "9999-12-31T23:59:59-23:59", "reason": "x"}}, "at most 7200"),
    ],
)
async def test_more_than_the_server_allows(http: httpx.AsyncClient, body: dict[str, Any], detail: str) -> None:
    await create(http)
    made = await lasting(http)
    problem = check_problem(await http.patch("/v1/clusters/demo", json=body), 422, "invalid_request")
    assert detail in problem["detail"]
    refused = await http.post("/v1/clusters", json={"image": "bare", **body})
    check_problem(refused, 422, "invalid_request")
    assert await lasting(http) == made


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ""),
        ({"name": "other"}, "name"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": "90"}, "ttl_seconds"),
        ({"ttl_seconds": 1.5}, "ttl_seconds"),
        ({"labels": None}, "labels"),
        ({"labels": {"a b": "x"}}, "labels"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"hold": {}}, "hold.reason"),
        ({"hold": {"reason": "x"}}, "hold"),
        ({"hold": {"reason": "x", "seconds": 5, "until": "2999-01-01T00:00:00Z"}}, "hold"),
        ({"hold": {"reason": "x", "seconds": 0}}, "hold.seconds"),
        ({"hold": {"reason": "", "seconds": 5}}, "hold.reason"),
        ({"hold": {"reason": " ", "seconds": 5}}, "hold.reason"),
        ({"hold": {"reason": "a\nb", "seconds": 5}}, "hold.reason"),
        ({"hold": {"reason": "x" * 257, "seconds": 5}}, "hold.reason"),
        ({"hold": {"reason": "x", "seconds": 5, "vms": "paused"}}, "hold.vms"),
        ({"hold": {"reason": "x", "until": 1767225600}}, "hold.until"),
        ({"hold": {"reason": "x", "until": "tomorrow"}}, "hold.until"),
        ({"hold": {"reason": "x", "until": "2999-01-01T00:00:00"}}, "hold.until"),
        ([], ""),
        (None, ""),
    ],
)
async def test_a_change_that_is_wrong_is_named(http: httpx.AsyncClient, body: Any, path: str) -> None:
    await create(http)
    made = await lasting(http)
    problem = check_problem(await http.patch("/v1/clusters/demo", json=body), 422, "invalid_request")
    if body is not None:
        assert path in {error["path"] for error in problem["errors"]}
    assert await lasting(http) == made


async def test_a_time_that_would_be_over_already_is_refused(http: httpx.AsyncClient, worker: Worker) -> None:
    class Later:
        """An hour ahead of the machine's clock."""

        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(hours=1)

    await create(http, ttl_seconds=7200)
    await worker.make()
    infrastructure = Infrastructure()
    async with ApiHttp(infrastructure.services(worker.store, clock=Later())) as later:
        refused = await later.patch("/v1/clusters/demo", json={"ttl_seconds": 60, "labels": {"a": "b"}})
        problem = check_problem(refused, 422, "invalid_request")
        assert "DELETE" in problem["detail"]
    cluster = (await http.get("/v1/clusters/demo")).json()
    assert (cluster["ttl_seconds"], cluster["labels"]) == (7200, {})


async def test_what_is_being_deleted_cannot_be_changed(http: httpx.AsyncClient, worker: Worker) -> None:
    identity = (await create(http, heartbeat_interval_seconds=60))["id"]
    await http.delete("/v1/clusters/demo")
    check_problem(await http.patch("/v1/clusters/demo", json={"ttl_seconds": 60}), 409, "conflict")
    check_problem(await http.post("/v1/clusters/demo/heartbeat"), 409, "conflict")
    await worker.remove()
    check_problem(await http.patch(f"/v1/clusters/{identity}", json={"ttl_seconds": 60}), 409, "conflict")
    check_problem(await http.post(f"/v1/clusters/{identity}/heartbeat"), 409, "conflict")
    check_problem(await http.patch("/v1/clusters/demo", json={"ttl_seconds": 60}), 404, "not_found")


async def test_heartbeats_move_the_end(http: httpx.AsyncClient) -> None:
    made = await create(http, heartbeat_interval_seconds=30)
    assert made["expires_because"] == "heartbeat"
    assert at(made["expires_at"]) - at(made["heartbeat_at"]) == timedelta(seconds=30)
    answer = await http.post("/v1/clusters/demo/heartbeat")
    assert answer.status_code == 200
    beat = answer.json()
    assert beat["heartbeat_interval_seconds"] == 30
    assert at(beat["expires_at"]) > at(made["expires_at"])
    now = (await http.get("/v1/clusters/demo")).json()
    assert now["expires_at"] == beat["expires_at"]
    assert await stories(http) == []
    empty = await http.post("/v1/clusters/demo/heartbeat", json={})
    assert empty.status_code == 200


async def test_the_earlier_end_counts(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, heartbeat_interval_seconds=3600, ttl_seconds=60)
    await worker.make()
    beat = (await http.post("/v1/clusters/demo/heartbeat")).json()
    cluster = (await http.get("/v1/clusters/demo")).json()
    assert cluster["expires_because"] == "ttl"
    assert at(beat["expires_at"]) == at(cluster["ready_at"]) + timedelta(seconds=60)


async def test_a_heartbeat_without_an_interval_is_rejected(http: httpx.AsyncClient) -> None:
    await create(http)
    check_problem(await http.post("/v1/clusters/demo/heartbeat"), 409, "conflict")
    check_problem(await http.post("/v1/clusters/nothing/heartbeat"), 404, "not_found")
    check_problem(await http.post("/v1/clusters/No-thing/heartbeat"), 404, "not_found")


async def test_restart_and_owner_are_kept(http: httpx.AsyncClient) -> None:
    made = await create(http, owner="team-a", restart="never")
    assert (made["owner"], made["restart"], made["restarts"]) == ("team-a", "never", 0)
    other = await create(http, "other")
    assert (other["owner"], other["restart"], other["heartbeat_interval_seconds"]) == ("default", "always", None)
    found = (await http.get("/v1/clusters?owner=team-a")).json()["clusters"]
    assert [one["name"] for one in found] == ["demo"]
    assert (await http.get("/v1/clusters?owner=nobody")).json()["clusters"] == []
