"""/v1/quota and /v1/quotas, and requests beyond a quota."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from dayfly.domain.cluster.model import Purpose
from dayfly.errors import DatabaseUnavailable
from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.store.helpers import make_members

NO_LIMITS = dict.fromkeys(
    [
        *("clusters", "creating", "vcpus", "memory_mib", "disk_gib"),
        *("templates", "pool_members", "saved_gib", "long_polls", "max_ttl_seconds"),
    ]
)


async def put(http: httpx.AsyncClient, path: str = "/default", **limits: Any) -> dict[str, Any]:
    answer = await http.put(f"/v1/quotas{path}", json=limits)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_quota_and_what_is_used(http: httpx.AsyncClient) -> None:
    empty = (await http.get("/v1/quota")).json()
    assert (empty["team"], empty["limits"], empty["weight"]) == ("default", NO_LIMITS, 1.0)
    assert set(empty["used"].values()) == {0}
    assert (await http.get("/v1/quotas")).json() == {"limits": NO_LIMITS, "weight": 1.0, "isolation": "shared"}
    assert await put(http, "", clusters=10, vcpus=20, weight=2) == {
        "limits": {**NO_LIMITS, "clusters": 10, "vcpus": 20},
        "weight": 2.0,
        "isolation": "shared",
    }
    own = await put(http, clusters=5, vcpus=None, max_ttl_seconds=3600)
    assert own["limits"] == {**NO_LIMITS, "clusters": 5, "max_ttl_seconds": 3600}
    assert own["weight"] == 2.0
    assert (await http.get("/v1/quota")).json() == own == (await http.get("/v1/quotas/default")).json()
    assert (await http.get("/v1/quotas/other")).json()["limits"] == {**NO_LIMITS, "clusters": 10, "vcpus": 20}
    assert (await put(http))["limits"]["clusters"] == 10
    await http.post("/v1/clusters", json={"image": "bare"})
    used = (await http.get("/v1/quota")).json()["used"]
    assert (used["clusters"], used["creating"], used["vcpus"] > 0) == (1, 1, True)


async def test_a_request_beyond_it_is_told_the_limit_and_what_uses_it(http: httpx.AsyncClient) -> None:
    await put(http, clusters=2)
    for name in ("one", "two"):
        assert (await http.post("/v1/clusters", json={"name": name, "image": "bare"})).status_code == 202
    refused = await http.post("/v1/clusters", json={"image": "bare"})
    check_problem(refused, 409, "quota_exceeded")
    problem = refused.json()
    assert problem["detail"] == (
        "clusters: team default may have 2, has 2 (one 1, two 1), and the request needs 1 more"
    )
    assert problem["quota"] == {
        "team": "default",
        "name": "clusters",
        "limit": 2,
        "used": 2,
        "wanted": 1,
        "largest": [{"name": "one", "amount": 1}, {"name": "two", "amount": 1}],
    }
    await put(http, max_ttl_seconds=60)
    refused = await http.post("/v1/clusters", json={"image": "bare", "ttl_seconds": 61})
    check_problem(refused, 409, "quota_exceeded")
    assert refused.json()["quota"]["name"] == "max_ttl_seconds"
    await put(http, pool_members=0, templates=0)
    pool = {"name": "ci", "image": "bare", "size": 1}
    check_problem(await http.post("/v1/pools", json=pool), 409, "quota_exceeded")
    check_problem(await http.post("/v1/templates", json={"image": "bare"}), 409, "quota_exceeded")


async def test_requests_at_once(http: httpx.AsyncClient) -> None:
    await put(http, clusters=5)
    answers = await asyncio.gather(*(http.post("/v1/clusters", json={"image": "bare"}) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [202] * 5 + [409] * 45
    assert (await http.get("/v1/quota")).json()["used"]["clusters"] == 5


async def test_the_isolation_of_clusters(http: httpx.AsyncClient) -> None:
    async def create(**fields: str) -> httpx.Response:
        return await http.post("/v1/clusters", json={"image": "bare", **fields})

    assert (await put(http, "", isolation="strict"))["isolation"] == "strict"
    assert (await create()).json()["isolation"] == "strict"
    assert (await create(isolation="shared")).json()["isolation"] == "shared"
    assert (await put(http, isolation="strict_only"))["isolation"] == "strict_only"
    for query in ("", "?dry_run=true"):
        asked = {"image": "bare", "isolation": "shared"}
        refused = await http.post(f"/v1/clusters{query}", json=asked)
        problem = check_problem(refused, 403, "isolation_required")
        assert "clusters of team default must be `strict`" in problem["detail"]
        tried = await http.post("/v1/clusters?dry_run=true", json={"image": "bare"})
        assert tried.json()["isolation"] == "strict"
    made = await http.post("/v1/clusters", json={"image": "bare"}, headers={"Idempotency-Key": "one"})
    assert made.json()["isolation"] == "strict"
    await put(http, isolation="shared")
    again = await http.post("/v1/clusters", json={"image": "bare"}, headers={"Idempotency-Key": "one"})
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (made.json()["id"], "true")
    assert (await create()).json()["isolation"] == "shared"
    assert (await http.post("/v1/teams", json={"name": "other"})).status_code == 201
    assert (await create(owner="other")).json()["isolation"] == "strict", "the quota of the owner counts"


async def test_a_strict_team_gets_no_member_of_a_pool(http: httpx.AsyncClient, store: Store) -> None:
    made = await http.post("/v1/pools", json={"name": "ci", "image": "bare", "size": 1})
    assert made.status_code == 201
    pool = await store.pools.get("ci")
    await make_members(store, pool, 1)
    await put(http, isolation="strict_only")
    assert (await http.post("/v1/clusters", json={"image": "bare", "name": "demo"})).status_code == 202
    assert (await store.clusters.get("demo")).boot_source is None
    assert len((await store.clusters.list(purposes={Purpose.POOL_MEMBER})).clusters) == 1


async def test_the_webhooks_of_the_team_are_told(http: httpx.AsyncClient) -> None:
    webhook = (await http.post("/v1/webhooks", json={"url": "https://ci.example/", "events": ["quota"]})).json()["id"]
    await put(http, clusters=0)
    for _ in range(2):
        check_problem(await http.post("/v1/clusters", json={"image": "bare"}), 409, "quota_exceeded")
    [delivery] = (await http.get(f"/v1/webhooks/{webhook}/deliveries")).json()["deliveries"]
    assert (delivery["type"], delivery["cluster_id"]) == ("quota", None)


async def test_a_refusal_is_a_refusal_even_if_it_cannot_be_recorded(
    http: httpx.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise DatabaseUnavailable("away")

    await put(http, clusters=0)
    monkeypatch.setattr(store.quotas, "refused", away)
    check_problem(await http.post("/v1/clusters", json={"image": "bare"}), 409, "quota_exceeded")


@pytest.mark.parametrize(
    "body",
    [
        {"clusters": -1},
        {"clusters": 1.5},
        {"clusters": "1"},
        {"clusters": 10**10},
        {"max_ttl_seconds": 0},
        {"weight": 0},
        {"isolation": "none"},
        {"isolation": 1},
        {"long_polls": -1},
        {"weight": 10**9},
        {"gpus": 1},
        [],
        None,
    ],
)
async def test_bad_input(http: httpx.AsyncClient, body: Any) -> None:
    for path in ("", "/default"):
        check_problem(await http.put(f"/v1/quotas{path}", json=body), 422, "invalid_request")


@pytest.mark.parametrize("team", ["*", "A", "a" * 64, "-"])
async def test_no_team_has_the_name(http: httpx.AsyncClient, team: str) -> None:
    check_problem(await http.put(f"/v1/quotas/{team}", json={}), 422, "invalid_request")
    check_problem(await http.get(f"/v1/quotas/{team}"), 422, "invalid_request")


async def test_a_body_that_is_not_json(http: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    check_problem(await http.put("/v1/quotas", content=b"{", headers=headers), 400, "malformed_json")
    answer = await http.put("/v1/quotas", content=b"{}", headers={"Content-Type": "text/plain"})
    check_problem(answer, 415, "unsupported_media_type")
