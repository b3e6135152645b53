"""/v1/pools, and clusters that are claimed from a pool."""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from dayfly.clock import SystemClock
from dayfly.domain.pool import PoolCondition
from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.api.test_long_poll import held
from tests.support.api import OFFERED, ApiHttp, Infrastructure, Worker

PORTS = {"ports": [{"name": "web", "port": 80}]}
SCHEDULE = [
    {"days": ["mon", "tue", "wed", "thu", "fri"], "since": "07:00", "until": "19:00", "size": 4},
    {"days": ["sat"], "since": "00:00", "until": "24:00", "size": 0},
]


async def create(http: httpx.AsyncClient, name: str = "ci", **body: object) -> dict[str, Any]:
    answer = await http.post("/v1/pools", json={"name": name, "image": "bare", "size": 2, **body})
    assert answer.status_code == 201, answer.text
    pool: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/pools/{pool['id']}"
    return pool


async def fill(worker: Worker) -> None:
    for pool in await worker.store.pools.list():
        await worker.store.pools.refill(pool.id, pool.desired_size(datetime.now(UTC)), pool.spec)
    await worker.tend()


async def counts(http: httpx.AsyncClient, name: str = "ci") -> tuple[int, int, int]:
    pool = (await http.get(f"/v1/pools/{name}")).json()
    return pool["desired_size"], pool["ready"], pool["provisioning"]


async def test_a_pool_is_found_by_id_and_by_name(http: httpx.AsyncClient) -> None:
    made = await create(http, workers={"count": 1}, owner="them", max_age_seconds=600)
    assert (made["owner"], made["workers"]["count"], made["image"]) == ("them", 1, "dayfly/bare:latest")
    assert (made["size"], made["maximum"], made["max_age_seconds"], made["schedule"]) == (2, 64, 600, [])
    assert (made["desired_size"], made["ready"], made["provisioning"]) == (2, 0, 0)
    assert (await http.get("/v1/pools/ci")).json() == made
    assert (await http.get(f"/v1/pools/{made['id']}")).json() == made
    await create(http, "another")
    assert [one["name"] for one in (await http.get("/v1/pools")).json()["pools"]] == ["another", "ci"]


async def test_it_says_what_keeps_it_from_being_filled(http: httpx.AsyncClient, store: Store) -> None:
    pool = await create(http)
    assert pool["condition"] is None
    await store.pools.set_condition(pool["id"], PoolCondition("template_building", "template 1 is being built"))
    waiting = {"code": "template_building", "message": "template 1 is being built"}
    assert (await http.get("/v1/pools/ci")).json()["condition"] == waiting
    assert [one["condition"] for one in (await http.get("/v1/pools")).json()["pools"]] == [waiting]
    assert (await http.patch("/v1/pools/ci", json={"size": 1})).json()["condition"] == waiting


async def test_its_members_are_counted_and_are_no_clusters(http: httpx.AsyncClient, worker: Worker) -> None:
    pool = await create(http)
    await worker.store.pools.refill(pool["id"], 2, (await worker.store.pools.get("ci")).spec)
    assert await counts(http) == (2, 0, 2)
    await worker.tend()
    assert await counts(http) == (2, 2, 0)
    assert (await http.get("/v1/clusters")).json()["clusters"] == []
    members = (await http.get("/v1/clusters?purpose=pool_member")).json()["clusters"]
    assert [(one["purpose"], one["pool"]) for one in members] == [("pool_member", pool["id"])] * 2


@pytest.mark.parametrize("path", ["nodes/node01/ssh", "nodes/node01/console", "kubeconfig", "registry", "ports"])
async def test_a_member_gives_no_access_until_it_is_claimed(http: httpx.AsyncClient, worker: Worker, path: str) -> None:
    await create(http)
    await fill(worker)
    [member, _] = (await http.get("/v1/clusters?purpose=pool_member")).json()["clusters"]
    refused = await http.get(f"/v1/clusters/{member['id']}/{path}")
    check_problem(refused, 409, "conflict")
    assert "PRIVATE KEY" not in refused.text
    claimed = await http.post("/v1/clusters", json={"image": "bare"})
    assert claimed.status_code == 202
    shown = await http.get(f"/v1/clusters/{claimed.json()['id']}/{path}")
    assert "belongs to" not in shown.text
    assert "PRIVATE KEY" not in shown.text


@pytest.mark.parametrize("path", ["nodes/node01/ssh", "registry"])
async def test_a_claimed_member_gives_access_when_it_has_keys_of_its_own(
    http: httpx.AsyncClient, worker: Worker, path: str
) -> None:
    await create(http)
    await fill(worker)
    [*members] = (await http.get("/v1/clusters?purpose=pool_member")).json()["clusters"]
    before = {one["id"]: await worker.store.clusters.secrets(one["id"]) for one in members}
    mine = (await http.post("/v1/clusters", json={"name": "mine", "image": "bare"})).json()
    check_problem(await http.get(f"/v1/clusters/mine/{path}"), 409, "not_ready")
    await worker.tend()
    answer = await http.get(f"/v1/clusters/mine/{path}")
    assert answer.status_code == 200
    secrets = before[mine["id"]]
    assert secrets is not None
    assert secrets.user_key.private not in answer.json().values()


async def test_a_member_shows_no_endpoint_until_its_claim_is_carried_out(
    http: httpx.AsyncClient, worker: Worker
) -> None:
    await create(http)
    await fill(worker)
    for member in (await http.get("/v1/clusters?purpose=pool_member")).json()["clusters"]:
        assert member["endpoints"] == {}
        assert (await http.get(f"/v1/clusters/{member['id']}")).json()["endpoints"] == {}
        nodes = (await http.get(f"/v1/clusters/{member['id']}/nodes")).json()["nodes"]
        assert [node["ssh"] for node in nodes] == [None]
    claimed = (await http.post("/v1/clusters", json={"name": "mine", "image": "bare"})).json()
    assert claimed["endpoints"] == {}
    assert {one["endpoint"] for one in (await http.get("/v1/clusters/mine/ports")).json()["ports"]} == {None}
    await worker.tend()
    assert set((await http.get("/v1/clusters/mine")).json()["endpoints"]) == {"registry", "ssh/node01"}


async def test_diagnostics_of_a_member_show_nothing_of_its_machines(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await fill(worker)
    members = (await http.get("/v1/clusters?purpose=pool_member")).json()["clusters"]
    for member in members:
        bundle = await http.get(f"/v1/clusters/{member['id']}/diagnostics")
        assert not [name for name in names_in(bundle) if "/now/" in name]
    claimed = (await http.post("/v1/clusters", json={"image": "bare"})).json()
    assert claimed["id"] in {member["id"] for member in members}
    bundle = await http.get(f"/v1/clusters/{claimed['id']}/diagnostics")
    assert [name for name in names_in(bundle) if "/now/" in name]


def names_in(bundle: httpx.Response) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(bundle.content)) as archive:
        return archive.getnames()


async def test_a_member_accepts_no_requests_until_it_is_claimed(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await fill(worker)
    [member, _] = (await http.get("/v1/clusters?purpose=pool_member")).json()["clusters"]
    path = f"/v1/clusters/{member['name']}"
    for answer in (
        await http.patch(path, json={"labels": {"a": "b"}}),
        await http.patch(path, json={"ttl_seconds": 60}),
        await http.post(f"{path}/heartbeat"),
        await http.post(f"{path}/reset"),
        await http.post(f"{path}/hibernate"),
        await http.post(f"{path}/resume"),
        await http.post(f"{path}/checkpoints", json={"name": "one"}),
    ):
        check_problem(answer, 409, "conflict")
    assert (await http.delete(path)).status_code == 202


async def test_a_matching_request_claims_a_member(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await fill(worker)
    body = {"name": "mine", "image": "bare", "labels": {"a": "b"}, "ttl_seconds": 600, "idle_seconds": 90}
    answer = await http.post("/v1/clusters", json=body, headers={"Idempotency-Key": "job-1"})
    assert answer.status_code == 202
    taken = answer.json()
    assert answer.headers["location"] == f"/v1/clusters/{taken['id']}"
    assert (taken["name"], taken["phase"], taken["purpose"], taken["pool"]) == ("mine", "pending", "cluster", None)
    assert (taken["labels"], taken["ttl_seconds"], taken["idle_seconds"]) == ({"a": "b"}, 600, 90)
    assert taken["queue_position"] is None
    assert await counts(http) == (2, 1, 0)
    again = await http.post("/v1/clusters", json=body, headers={"Idempotency-Key": "job-1"})
    assert (again.status_code, again.json()["id"]) == (202, taken["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert await counts(http) == (2, 1, 0)


async def test_ready_is_waited_for_until_its_machines_go_on(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await fill(worker)
    await http.post("/v1/clusters", json={"name": "mine", "image": "bare"})
    cluster = await held(http, "/v1/clusters/mine?wait=ready&timeout=60", worker.tend())
    assert cluster["phase"] == "ready"


@pytest.mark.parametrize(
    "body",
    [{"isolation": "strict"}, {"owner": "them"}, {"control_plane": {"memory_mib": 600}}, {"image": "k8s"}, PORTS],
)
async def test_another_request_claims_none(http: httpx.AsyncClient, worker: Worker, body: dict[str, object]) -> None:
    await create(http)
    await fill(worker)
    answer = await http.post("/v1/clusters", json={"image": "bare", **body})
    assert (answer.status_code, answer.json()["phase"]) == (202, "pending")
    assert await counts(http) == (2, 2, 0)


async def test_an_empty_pool_is_no_pool(http: httpx.AsyncClient) -> None:
    await create(http)
    assert (await http.post("/v1/clusters", json={"image": "bare"})).status_code == 202


async def test_a_name_that_is_taken_leaves_the_member(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http)
    await fill(worker)
    await http.post("/v1/clusters", json={"name": "mine", "image": "k8s"})
    check_problem(await http.post("/v1/clusters", json={"name": "mine", "image": "bare"}), 409, "name_taken")
    assert await counts(http) == (2, 2, 0)


async def test_what_is_given_is_changed(http: httpx.AsyncClient) -> None:
    before = await create(http, schedule=SCHEDULE)
    assert before["schedule"] == SCHEDULE
    changed = (await http.patch("/v1/pools/ci", json={"size": 3, "maximum": 1})).json()
    assert (changed["size"], changed["maximum"], changed["schedule"]) == (3, 1, SCHEDULE)
    assert changed["desired_size"] <= 1
    changed = (await http.patch("/v1/pools/ci", json={"schedule": [], "max_age_seconds": 60})).json()
    assert (changed["size"], changed["schedule"], changed["max_age_seconds"], changed["desired_size"]) == (3, [], 60, 1)


async def test_the_schedule_says_how_many_wait(store: Store, infrastructure: Infrastructure) -> None:
    class Fixed(SystemClock):
        """A Saturday, then a Monday."""

        moment = datetime(2026, 1, 3, 12, tzinfo=UTC)

        def now(self) -> datetime:
            return self.moment

    clock = Fixed()
    async with ApiHttp(infrastructure.services(store, clock=clock)) as http:
        assert (await create(http, schedule=SCHEDULE))["desired_size"] == 0
        clock.moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
        assert await counts(http) == (4, 0, 0)
        clock.moment = datetime(2026, 1, 5, 20, tzinfo=UTC)
        assert await counts(http) == (2, 0, 0)


async def test_a_deleted_pool_leaves_what_was_taken(http: httpx.AsyncClient, worker: Worker) -> None:
    pool = await create(http)
    await fill(worker)
    taken = (await http.post("/v1/clusters", json={"name": "mine", "image": "bare"})).json()
    gone = await http.delete("/v1/pools/ci")
    assert (gone.status_code, gone.json()["id"]) == (202, pool["id"])
    check_problem(await http.get("/v1/pools/ci"), 404, "not_found")
    check_problem(await http.delete("/v1/pools/ci"), 404, "not_found")
    await worker.tend()
    left = (await http.get("/v1/clusters?purpose=pool_member&purpose=cluster")).json()["clusters"]
    assert [one["id"] for one in left] == [taken["id"]]


async def test_a_name_is_taken_once(http: httpx.AsyncClient) -> None:
    await create(http)
    refused = await http.post("/v1/pools", json={"name": "ci", "image": "k8s", "size": 0})
    check_problem(refused, 409, "name_taken")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "Ci"}, "bad_name"),
        ({"name": ""}, "bad_name"),
        ({"name": "a\0"}, "bad_name"),
        ({"image": "nothing"}, "image_missing"),
        ({"workers": {"count": 99}}, "too_many_nodes"),
        ({"control_plane": {"memory_mib": OFFERED.memory_mib}}, "capacity"),
        ({"readiness": "usable"}, "invalid_request"),
    ],
)
async def test_an_invalid_request_is_rejected(http: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    body_given = {"name": "ci", "image": "bare", "size": 1, **body}
    check_problem(await http.post("/v1/pools", json=body_given), 422, code)
    assert (await http.get("/v1/pools")).json()["pools"] == []


def period(**changes: object) -> dict[str, object]:
    return {"schedule": [{"days": ["mon"], "since": "07:00", "until": "19:00", "size": 4, **changes}]}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"size": -1}, "size"),
        ({"size": 65}, "size"),
        ({"size": "2"}, "size"),
        ({"size": None}, "size"),
        ({"maximum": 65}, "maximum"),
        ({"max_age_seconds": 59}, "max_age_seconds"),
        ({"max_age_seconds": 10**30}, "max_age_seconds"),
        ({"schedule": {}}, "schedule"),
        ({"schedule": None}, "schedule"),
        ({"schedule": period()["schedule"] * 33}, "schedule"),  # type: ignore[operator]
        (period(days=[]), "schedule.0.days"),
        (period(days="mon"), "schedule.0.days"),
        (period(days=["monday"]), "schedule.0.days.0"),
        (period(days=["mon"] * 8), "schedule.0.days"),
        (period(since="7:00"), "schedule.0.since"),
        (period(since="24:00"), "schedule.0.since"),
        (period(until="24:01"), "schedule.0.until"),
        (period(until="19:00\n"), "schedule.0.until"),
        (period(since=7), "schedule.0.since"),
        (period(until="07:00"), "schedule.0"),
        (period(size=65), "schedule.0.size"),
        (period(x=1), "schedule.0.x"),
        ({"x": 1}, "x"),
    ],
)
async def test_a_field_that_is_wrong_is_named(http: httpx.AsyncClient, body: dict[str, Any], path: str) -> None:
    made = await create(http)
    refused = await http.post("/v1/pools", json={"name": "other", "image": "bare", "size": 1, **body})
    problem = check_problem(refused, 422, "invalid_request")
    assert path in {error["path"] for error in problem["errors"]}
    problem = check_problem(await http.patch("/v1/pools/ci", json=body), 422, "invalid_request")
    assert path in {error["path"] for error in problem["errors"]}
    assert (await http.get("/v1/pools")).json()["pools"] == [made]


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"image": "k8s"}, {"owner": "x"}, [], None])
async def test_a_change_that_is_none(http: httpx.AsyncClient, body: Any) -> None:
    await create(http)
    check_problem(await http.patch("/v1/pools/ci", json=body), 422, "invalid_request")


@pytest.mark.parametrize("name", ["nothing", "0123456789ab", "A", "a%00", "a" * 5000])
async def test_what_is_not_there(http: httpx.AsyncClient, name: str) -> None:
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"size": 1})):
        check = await http.request(method, f"/v1/pools/{name}", json=body)
        assert (check.status_code, check.json()["code"]) == (404, "not_found")
