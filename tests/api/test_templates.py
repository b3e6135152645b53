"""/v1/templates, and clusters that a template serves."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.api import OFFERED, Worker
from tests.support.obedience import SAVED_BYTES
from tests.support.specs import IMAGE_ID


async def create(http: httpx.AsyncClient, status: int = 202, **body: object) -> dict[str, Any]:
    answer = await http.post("/v1/templates", json={"image": "bare", **body})
    assert answer.status_code == status, answer.text
    template: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/templates/{template['id']}"
    return template


async def phases(http: httpx.AsyncClient, query: str = "") -> list[tuple[str, str]]:
    found = (await http.get(f"/v1/templates{query}")).json()["templates"]
    return [(one["owner"], one["phase"]) for one in found]


async def test_from_a_request_to_a_template(http: httpx.AsyncClient, worker: Worker) -> None:
    asked = await create(http, workers={"count": 1, "memory_mib": 300})
    assert (asked["phase"], asked["size_bytes"], asked["uses"], asked["error"]) == ("building", 0, 0, None)
    assert (asked["image"], asked["workers"]["count"], asked["workers"]["memory_mib"]) == ("dayfly/bare:latest", 1, 300)
    assert asked["parents"]["image"] == IMAGE_ID
    builder = (await http.get(f"/v1/clusters/{asked['parents']['builder']}")).json()
    assert (builder["purpose"], builder["template"]) == ("template", asked["id"])
    assert (await http.get("/v1/clusters")).json()["clusters"] == []
    building = (await http.get("/v1/clusters?purpose=template&purpose=verification")).json()["clusters"]
    assert [one["id"] for one in building] == [builder["id"]]
    await worker.tend()
    made = (await http.get(f"/v1/templates/{asked['id']}")).json()
    assert (made["phase"], made["size_bytes"]) == ("ready", SAVED_BYTES)
    assert made["ready_at"] is not None
    assert made["age_seconds"] >= 0
    assert (await http.get("/v1/clusters?purpose=template&purpose=verification")).json()["clusters"] == []


async def test_the_same_shape_is_one_template(http: httpx.AsyncClient, worker: Worker) -> None:
    first = await create(http)
    again = await create(http, status=200, readiness="booted")
    assert again["id"] == first["id"]
    await worker.tend()
    assert (await create(http, status=200))["id"] == first["id"]
    assert (await create(http, status=200, workers={"memory_mib": 900}))["id"] == first["id"], "it has no workers"
    assert (await create(http, owner="them"))["id"] != first["id"]
    assert (await create(http, control_plane={"memory_mib": 600}))["id"] != first["id"]
    assert len(await phases(http)) == 3
    assert await phases(http, "?owner=them") == [("them", "building")]


async def test_clusters_of_the_shape_are_forks(http: httpx.AsyncClient, worker: Worker) -> None:
    template = await create(http)
    await worker.tend()
    before = (await http.get(f"/v1/templates/{template['id']}")).json()
    for name, body in {"fork": {}, "strict": {"isolation": "strict"}, "other": {"owner": "them"}}.items():
        await http.post("/v1/clusters", json={"name": name, "image": "bare", **body})
    await worker.tend()
    found = {one["name"]: one["template"] for one in (await http.get("/v1/clusters")).json()["clusters"]}
    assert found == {"fork": template["id"], "strict": None, "other": None}
    after = (await http.get(f"/v1/templates/{template['id']}")).json()
    assert (after["uses"] - before["uses"], after["forks"]) == (1, 1)
    assert after["last_used_at"] is not None


async def test_a_cluster_that_is_no_fork_says_why(http: httpx.AsyncClient, worker: Worker) -> None:
    theirs = await create(http, owner="them")
    await worker.tend()
    mine = await create(http, control_plane={"memory_mib": 700})
    await worker.tend()
    wanted: dict[str, tuple[dict[str, object], str]] = {
        "owner": ({}, f"template {mine['id']} has nodes of other sizes"),
        "shape": ({"control_plane": {"memory_mib": 900}}, f"template {mine['id']} has nodes of other sizes"),
        "image": ({"image": "k8s"}, "owner default has no template of image dayfly/k8s:latest"),
        "strict": ({"isolation": "strict"}, "its isolation is strict"),
    }
    for name, (body, _) in wanted.items():
        created = await http.post("/v1/clusters", json={"name": name, "image": "bare", **body})
        assert created.json()["not_forked_because"] is None, "it has not begun"
    await http.post("/v1/clusters", json={"name": "fork", "image": "bare", "owner": "them"})
    await worker.tend()
    reasons = {name: reason for name, (_, reason) in wanted.items()}
    listed = (await http.get("/v1/clusters")).json()["clusters"]
    assert {one["name"]: one["not_forked_because"] for one in listed} == {**reasons, "fork": None}
    for name, reason in reasons.items():
        one = (await http.get(f"/v1/clusters/{name}")).json()
        assert (one["template"], one["not_forked_because"]) == (None, reason)
    fork = (await http.get("/v1/clusters/fork")).json()
    assert (fork["template"], fork["not_forked_because"]) == (theirs["id"], None)


async def test_one_that_is_used_goes_with_the_last_fork(http: httpx.AsyncClient, worker: Worker, store: Store) -> None:
    template = await create(http)
    await worker.tend()
    await http.post("/v1/clusters", json={"name": "fork", "image": "bare"})
    await worker.tend()
    for _ in range(2):
        retired = await http.delete(f"/v1/templates/{template['id']}")
        assert (retired.status_code, retired.json()["phase"]) == (202, "retiring")
    await store.templates.close()
    assert await phases(http) == [("default", "retiring")]
    await http.delete("/v1/clusters/fork")
    await worker.tend()
    await store.templates.close()
    assert await phases(http) == []
    assert await phases(http, "?retired=true") == [("default", "retired")]
    gone = await http.delete(f"/v1/templates/{template['id']}")
    assert (gone.status_code, gone.json()["phase"]) == (200, "retired")
    assert (await http.get(f"/v1/templates/{template['id']}")).json()["phase"] == "retired"


async def test_one_that_is_being_made_can_be_given_up(http: httpx.AsyncClient, worker: Worker) -> None:
    template = await create(http)
    retired = await http.delete(f"/v1/templates/{template['id']}")
    assert (retired.status_code, retired.json()["phase"]) == (202, "retiring")
    builder = (await http.get(f"/v1/clusters/{template['parents']['builder']}")).json()
    assert builder["desired"] == "absent"
    assert (await create(http))["id"] != template["id"]


async def test_one_that_could_not_be_made_says_why(http: httpx.AsyncClient, worker: Worker) -> None:
    template = await create(http)
    await worker.fail({"console": "x"})
    failed = (await http.get(f"/v1/templates/{template['id']}")).json()
    assert (failed["phase"], failed["error"]["code"]) == ("failed", "vm_exited")
    builder = failed["parents"]["builder"]
    assert (failed["error"]["cluster"], failed["error"]["evidence"]) == (builder, ["console"])
    assert (await http.get(f"/v1/clusters/{builder}/evidence/console")).text == "x"
    [listed] = (await http.get("/v1/templates")).json()["templates"]
    assert listed["error"] == {**failed["error"], "evidence": []}
    await worker.tend()
    assert (await http.get(f"/v1/clusters/{builder}")).json()["phase"] == "deleted"
    assert (await http.get(f"/v1/clusters/{builder}/evidence/console")).text == "x", "deleted, but on record"
    assert (await create(http))["id"] != template["id"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"image": "nothing"}, "image_missing"),
        ({"image": "plain"}, "not_a_node_image"),
        ({"workers": {"count": 99}}, "too_many_nodes"),
        ({"control_plane": {"memory_mib": 255}}, "impossible_size"),
        ({"control_plane": {"memory_mib": OFFERED.memory_mib}}, "capacity"),
        ({"readiness": "usable"}, "invalid_request"),
    ],
)
async def test_an_invalid_request_is_rejected(http: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    check_problem(await http.post("/v1/templates", json={"image": "bare", **body}), 422, code)
    assert await phases(http) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "image"),
        ({"image": "bare", "name": "x"}, "name"),
        ({"image": "bare", "ttl_seconds": 5}, "ttl_seconds"),
        ({"image": "bare", "isolation": "strict"}, "isolation"),
        ({"image": "bare", "owner": "A"}, "owner"),
        ({"image": "bare", "workers": 1}, "workers"),
        (None, ""),
    ],
)
async def test_a_field_that_is_wrong_is_named(http: httpx.AsyncClient, body: Any, path: str) -> None:
    answer = await http.post("/v1/templates", json=body)
    problem = check_problem(answer, 422, "invalid_request")
    if body is not None:
        assert path in {error["path"] for error in problem["errors"]}
    assert await phases(http) == []


@pytest.mark.parametrize("name", ["0123456789ab", "nothing", "A", "a%00", "a" * 5000])
async def test_what_is_not_there(http: httpx.AsyncClient, name: str) -> None:
    for method in ("GET", "DELETE"):
        check = await http.request(method, f"/v1/templates/{name}")
        assert (check.status_code, check.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("query", ["owner=", "owner=A", "owner=a%00", "retired=perhaps"])
async def test_a_bad_listing(http: httpx.AsyncClient, query: str) -> None:
    check_problem(await http.get(f"/v1/templates?{query}"), 422, "invalid_request")
