"""Idempotency keys of the POSTs that create or change something. Not here: POST /v1/clusters (test_create.py)."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final, NamedTuple

import httpx
import pytest

from dayfly.api.app import document
from dayfly.errors import ImageMissing
from dayfly.schemas.checkpoints import CheckpointRequest, ResetRequest
from dayfly.schemas.cluster_requests import ClusterRequest
from dayfly.schemas.pools import PoolRequest
from dayfly.schemas.templates import TemplateRequest
from tests.api.test_bad_input import check_problem
from tests.support.api import Infrastructure, Worker

KEY: Final = {"Idempotency-Key": "job-17"}
REPLAYED: Final = "idempotency-replayed"


class Post(NamedTuple):
    path: str
    status: int
    body: dict[str, Any]
    other: dict[str, Any]


POSTS: Final = {
    "pool": Post(
        "/v1/pools", 201, {"name": "ci", "image": "bare", "size": 1}, {"name": "ci", "image": "bare", "size": 2}
    ),
    "template": Post("/v1/templates", 202, {"image": "bare"}, {"image": "k8s"}),
    "checkpoint": Post("/v1/clusters/demo/checkpoints", 202, {"name": "one"}, {"name": "two"}),
    "reset": Post("/v1/clusters/demo/reset", 202, {"to": "pristine"}, {"to": {"checkpoint": "one"}}),
}

WITHOUT_BODY: Final = {"hibernate": "hibernated", "resume": "present"}
"""Operation → `desired` after it."""


@pytest.fixture(params=POSTS)
def post(request: pytest.FixtureRequest) -> Post:
    return POSTS[request.param]


@pytest.fixture(autouse=True)
async def _ready_cluster(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    await worker.tend()


def shown(answer: httpx.Response) -> dict[str, object]:
    """Without the age, which grows."""
    return {name: value for name, value in answer.json().items() if name != "age_seconds"}


async def state(http: httpx.AsyncClient) -> tuple[object, ...]:
    """All that a POST could create or change: ids of pools and templates, checkpoints, and the cluster's generation."""
    pools = (await http.get("/v1/pools")).json()["pools"]
    templates = (await http.get("/v1/templates")).json()["templates"]
    checkpoints = (await http.get("/v1/clusters/demo/checkpoints")).json()["checkpoints"]
    cluster = (await http.get("/v1/clusters/demo")).json()
    ids = tuple(one["id"] for one in pools + templates), tuple(one["name"] for one in checkpoints)
    return (*ids, cluster["generation"])


async def test_a_repeated_request_is_answered_as_the_first(http: httpx.AsyncClient, post: Post) -> None:
    before = await state(http)
    first = await http.post(post.path, json=post.body, headers=KEY)
    after = await state(http)
    again = await http.post(post.path, json=post.body, headers=KEY)
    assert (first.status_code, again.status_code) == (post.status, post.status)
    assert shown(again) == shown(first)
    assert again.headers.get("location") == first.headers.get("location")
    assert (REPLAYED in first.headers, again.headers[REPLAYED]) == (False, "true")
    check_problem(await http.post(post.path, json=post.other, headers=KEY), 409, "idempotency_key_reused")
    bad = await http.post(post.path, json=post.body, headers={"Idempotency-Key": "a b"})
    check_problem(bad, 422, "invalid_request")
    assert before != after == await state(http)


async def test_twins_are_carried_out_once(http: httpx.AsyncClient, post: Post) -> None:
    twins = await asyncio.gather(*(http.post(post.path, json=post.body, headers=KEY) for _ in range(4)))
    assert {answer.status_code for answer in twins} == {post.status}
    assert all(shown(answer) == shown(twins[0]) for answer in twins)
    assert sorted(REPLAYED in answer.headers for answer in twins) == [False, True, True, True]


async def test_a_key_is_for_one_kind_of_request(http: httpx.AsyncClient, post: Post) -> None:
    await http.post("/v1/clusters", json={"image": "bare"}, headers=KEY)
    check_problem(await http.post(post.path, json=post.body, headers=KEY), 409, "idempotency_key_reused")
    other_key = {"Idempotency-Key": "job-18"}
    await http.post(post.path, json=post.body, headers=other_key)
    refused = await http.post("/v1/clusters", json={"image": "bare"}, headers=other_key)
    check_problem(refused, 409, "idempotency_key_reused")


@pytest.mark.parametrize("kind", ["pool", "template"])
async def test_a_repeated_request_is_answered_when_its_image_has_gone(
    http: httpx.AsyncClient, infrastructure: Infrastructure, kind: str
) -> None:
    post = POSTS[kind]
    first = await http.post(post.path, json=post.body, headers=KEY)
    infrastructure.images.broken = ImageMissing("removed meanwhile")
    again = await http.post(post.path, json=post.body, headers=KEY)
    assert (again.status_code, shown(again)) == (post.status, shown(first))


@pytest.mark.parametrize("kind", ["pool", "template"])
async def test_the_same_key_of_another_owner_is_another(http: httpx.AsyncClient, kind: str) -> None:
    post = POSTS[kind]
    first = await http.post(post.path, json=post.body, headers=KEY)
    theirs = {**post.body, "owner": "them"} | ({"name": "theirs"} if kind == "pool" else {})
    other = await http.post(post.path, json=theirs, headers=KEY)
    assert (other.status_code, REPLAYED in other.headers) == (post.status, False)
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("kind", ["checkpoint", "reset"])
async def test_a_key_belongs_to_one_cluster_of_an_owner(http: httpx.AsyncClient, worker: Worker, kind: str) -> None:
    post = POSTS[kind]
    for name, owner in (("second", "default"), ("theirs", "them")):
        await http.post("/v1/clusters", json={"name": name, "owner": owner, "image": "bare"})
    await worker.tend()
    await http.post(post.path, json=post.body, headers=KEY)
    same_owner = await http.post(post.path.replace("demo", "second"), json=post.body, headers=KEY)
    check_problem(same_owner, 409, "idempotency_key_reused")
    theirs = await http.post(post.path.replace("demo", "theirs"), json=post.body, headers=KEY)
    assert (theirs.status_code, REPLAYED in theirs.headers) == (post.status, False)


async def test_a_reset_that_has_ended_is_not_repeated(http: httpx.AsyncClient, worker: Worker) -> None:
    for generation in (2, 2, 2):
        await http.post("/v1/clusters/demo/reset", headers=KEY)
        await worker.tend()
        cluster = (await http.get("/v1/clusters/demo")).json()
        assert (cluster["generation"], cluster["reset_to"], cluster["phase"]) == (generation, None, "ready")
    again = await http.post("/v1/clusters/demo/reset?wait=ready", json={"to": "pristine"}, headers=KEY)
    assert (again.status_code, again.json()["reset_to"], again.headers[REPLAYED]) == (202, None, "true")
    another = await http.post("/v1/clusters/demo/reset", headers={"Idempotency-Key": "job-18"})
    assert (another.json()["reset_to"], another.json()["generation"]) == ("pristine", 3)


async def test_a_reset_that_joined_another_is_not_repeated_either(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters/demo/reset")
    joined = await http.post("/v1/clusters/demo/reset", headers=KEY)
    assert (joined.status_code, REPLAYED in joined.headers) == (202, False)
    await worker.tend()
    again = await http.post("/v1/clusters/demo/reset", headers=KEY)
    assert (again.json()["reset_to"], again.json()["generation"]) == (None, 2)


async def test_a_repeated_reset_of_a_cluster_that_cannot_be_reset_now(http: httpx.AsyncClient, worker: Worker) -> None:
    identity = (await http.post("/v1/clusters/demo/reset", headers=KEY)).json()["id"]
    await http.delete("/v1/clusters/demo")
    again = await http.post("/v1/clusters/demo/reset", headers=KEY)
    assert (again.status_code, again.json()["desired"]) == (202, "absent")
    await worker.tend()
    again = await http.post(f"/v1/clusters/{identity}/reset", headers=KEY)
    assert (again.status_code, again.json()["phase"]) == (202, "deleted")
    check_problem(await http.post("/v1/clusters/demo/reset", headers=KEY), 404, "not_found")


async def test_a_checkpoint_is_shown_as_it_is_now(http: httpx.AsyncClient, worker: Worker) -> None:
    post = POSTS["checkpoint"]
    first = await http.post(post.path, json=post.body, headers=KEY)
    await worker.tend()
    again = await http.post(post.path, json=post.body, headers=KEY)
    assert (first.json()["phase"], again.json()["phase"], again.status_code) == ("creating", "ready", 202)
    await http.delete(f"{post.path}/one")
    await worker.tend()
    gone = await http.post(post.path, json=post.body, headers=KEY)
    assert "use a new key" in check_problem(gone, 404, "not_found")["detail"]
    await http.post(post.path, json=post.body)
    check_problem(await http.post(post.path, json=post.body, headers=KEY), 404, "not_found")


async def test_a_pool_that_is_deleted_is_not_created_again(http: httpx.AsyncClient) -> None:
    post = POSTS["pool"]
    await http.post(post.path, json=post.body, headers=KEY)
    await http.delete("/v1/pools/ci")
    gone = await http.post(post.path, json=post.body, headers=KEY)
    assert "use a new key" in check_problem(gone, 404, "not_found")["detail"]
    assert (await http.get("/v1/pools")).json()["pools"] == []


async def test_a_template_of_another_request_keeps_its_status(http: httpx.AsyncClient) -> None:
    """200: a template of this shape and owner existed."""
    await http.post("/v1/templates", json={"image": "bare"})
    answers = [await http.post("/v1/templates", json={"image": "bare"}, headers=KEY) for _ in range(2)]
    assert [(one.status_code, REPLAYED in one.headers) for one in answers] == [(200, False), (200, True)]


async def test_a_template_that_is_retired_is_not_created_again(http: httpx.AsyncClient) -> None:
    made = (await http.post("/v1/templates", json={"image": "bare"}, headers=KEY)).json()
    await http.delete(f"/v1/templates/{made['id']}")
    again = await http.post("/v1/templates", json={"image": "bare"}, headers=KEY)
    assert (again.status_code, again.json()["id"], again.json()["phase"]) == (202, made["id"], "retiring")


async def test_a_refused_request_leaves_its_key_unused(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "waiting", "image": "bare"})
    path = "/v1/clusters/waiting/reset"
    check_problem(await http.post(path, headers=KEY), 409, "not_ready")
    await worker.tend()
    done = await http.post(path, headers=KEY)
    assert (done.status_code, done.json()["reset_to"], REPLAYED in done.headers) == (202, "pristine", False)


def test_requests_of_two_kinds_have_different_fields() -> None:
    """So their fingerprints differ, and the key of one is never taken for that of another."""
    models = (ClusterRequest, PoolRequest, TemplateRequest, CheckpointRequest, ResetRequest)
    assert len({frozenset(model.model_fields) for model in models}) == len(models)


def test_every_post_takes_a_key() -> None:
    for path, operations in json.loads(document())["paths"].items():
        for method, operation in operations.items():
            named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "header"}
            assert method != "post" or "idempotency-key" in named, path


@pytest.mark.parametrize("operation", WITHOUT_BODY)
async def test_a_late_repetition_of_a_request_without_a_body_changes_nothing(
    http: httpx.AsyncClient, worker: Worker, operation: str
) -> None:
    path, (other,) = f"/v1/clusters/demo/{operation}", WITHOUT_BODY.keys() - {operation}
    if operation == "resume":
        await http.post("/v1/clusters/demo/hibernate")
        await worker.tend()
    first = await http.post(path, headers=KEY)
    assert (first.status_code, first.json()["desired"], REPLAYED in first.headers) == (
        202,
        WITHOUT_BODY[operation],
        False,
    )
    await worker.tend()
    assert (await http.post(f"/v1/clusters/demo/{other}")).json()["desired"] == WITHOUT_BODY[other]
    await worker.tend()
    again = await http.post(path, headers=KEY)
    assert (again.status_code, again.json()["desired"], again.headers[REPLAYED]) == (202, WITHOUT_BODY[other], "true")
    check_problem(await http.post(f"/v1/clusters/demo/{other}", headers=KEY), 409, "idempotency_key_reused")
    check_problem(await http.post(path, headers={"Idempotency-Key": "a b"}), 422, "invalid_request")


async def test_a_heartbeat_is_carried_out_again(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "beating", "image": "bare", "heartbeat_interval_seconds": 60})
    await worker.tend()
    path = "/v1/clusters/beating/heartbeat"
    first, again = [await http.post(path, headers=KEY) for _ in range(2)]
    assert (first.status_code, again.status_code, REPLAYED in again.headers) == (200, 200, False)
    assert again.json()["expires_at"] > first.json()["expires_at"]
    check_problem(await http.post(path, headers={"Idempotency-Key": "a b"}), 422, "invalid_request")
