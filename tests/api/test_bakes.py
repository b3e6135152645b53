"""POST /v1/images and /v1/bakes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from dayfly.domain.bake import LINE, BakedImage, NewBakeEvent
from dayfly.domain.cluster.model import Fault
from dayfly.store import BakeClaim, Store, bakes
from dayfly.vocabulary import BakePhase
from tests.api.test_bad_input import check_problem
from tests.support.api import ApiHttp, Infrastructure
from tests.support.node_images import on_engine
from tests.unit.images.test_orders import PLAIN

IMAGE = BakedImage("dayfly/bare:0123456789ab", "sha256:1")
KEY = {"Idempotency-Key": "job-17"}


async def create(http: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await http.post("/v1/images", json=body or {"recipe": "bare"})
    assert answer.status_code == 202, answer.text
    bake: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/bakes/{bake['id']}"
    return bake


async def claim(store: Store) -> BakeClaim:
    found = await store.bake_leases.claim("builder", "host", lease_seconds=60, per_host=100)
    assert found is not None
    return found


async def test_from_a_request_to_an_image(http: httpx.AsyncClient, store: Store) -> None:
    variables = {"kubernetes_version": "v1.20.2"}
    asked = await create(http, recipe="k8s-debian", variables=variables, owner="me")
    expected = {"recipe": "k8s-debian", "owner": "me", "phase": "queued", "attempts": 0, "variables": variables}
    assert asked.items() >= expected.items()
    unset = ("definition", "started_at", "ended_at", "cancel_requested_at", "image", "image_id", "image_state", "error")
    assert [asked[name] for name in unset] == [None] * len(unset)
    held = await claim(store)
    path = f"/v1/bakes/{asked['id']}"
    assert (await http.get(path)).json()["phase"] == "running"
    await store.bake_leases.end(held, BakePhase.SUCCEEDED, [], image=IMAGE)
    made = (await http.get(path)).json()
    assert (made["phase"], made["image"], made["image_id"]) == ("succeeded", IMAGE.reference, IMAGE.id)
    listed = (await http.get("/v1/bakes")).json()
    assert listed["bakes"] == [
        {name: made[name] for name in made if name not in {"variables", "definition", "conformance"}}
    ]
    assert listed["next_cursor"] is None


async def test_a_recipe_in_the_request(http: httpx.AsyncClient, store: Store) -> None:
    asked = await create(http, definition=PLAIN)
    assert (asked["recipe"], asked["definition"], asked["variables"]) == ("mine", PLAIN, {})
    assert (await claim(store)).bake.order.definition == PLAIN


async def test_an_image_that_is_retired_is_told(http: httpx.AsyncClient, store: Store) -> None:
    """A bake of the same inputs finds the image, which no new cluster may use."""
    image = on_engine(10)
    await store.images.retire("k8s", image)
    asked = await create(http)
    held = await claim(store)
    await store.bake_leases.end(held, BakePhase.SUCCEEDED, [], image=BakedImage("dayfly/bare:aaaaaaaaaaaa", image.id))
    path = f"/v1/bakes/{asked['id']}"
    made = (await http.get(path)).json()
    assert (made["phase"], made["image_state"]) == ("succeeded", "retired")
    events = (await http.get(f"{path}/events")).json()["events"]
    assert [one["type"] for one in events] == ["queued", "started", "image_retired", "succeeded"]
    assert "dayfly image promote" in events[2]["message"]
    await store.images.promote("k8s", image)
    assert (await http.get(path)).json()["image_state"] == "present"
    assert (await http.get("/v1/bakes")).json()["bakes"][0]["image_state"] == "present"


async def test_a_conformance_list_is_part_of_the_order(http: httpx.AsyncClient, store: Store) -> None:
    recipe = "k8s-debian-conformance"
    short = await create(http, recipe=recipe, readiness="conformance")
    assert short["conformance"] == []
    named = await create(http, recipe=recipe, readiness="conformance", conformance=["a spec"])
    assert named["conformance"] == ["a spec"]
    assert (await create(http, recipe=recipe))["conformance"] is None
    orders = [(await claim(store)).bake.order.conformance for _ in range(3)]
    assert orders == [(), ("a spec",), None]


BAD: dict[str, tuple[dict[str, object], int, str]] = {
    "nothing": ({}, 422, "invalid_request"),
    "two recipes": ({"recipe": "bare", "definition": PLAIN}, 422, "invalid_request"),
    "variables of a definition": ({"definition": PLAIN, "variables": {"a": 1}}, 422, "invalid_request"),
    "an unknown field": ({"recipe": "bare", "wait": True}, 422, "invalid_request"),
    "an unknown recipe": ({"recipe": "no-such"}, 404, "not_found"),
    "a path": ({"recipe": "../recipes/bare"}, 422, "invalid_request"),
    "an unknown variable": ({"recipe": "bare", "variables": {"ansible_connection": "local"}}, 422, "invalid_request"),
    "a number that is no integer": ({"recipe": "bare", "variables": {"a": 1.5}}, 422, "invalid_request"),
    "another type": ({"recipe": "k8s-debian", "variables": {"kubernetes_version": 1}}, 422, "invalid_request"),
    "a template": (
        {"recipe": "k8s-debian", "variables": {"kubernetes_version": "{{ lookup('pipe', 'id') }}"}},
        422,
        "invalid_request",
    ),
    "a definition that is none": ({"definition": {}}, 422, "bad_name"),
    "a definition with a recipe's name": ({"definition": {**PLAIN, "name": "bare"}}, 422, "bad_name"),
    "a script outside": ({"definition": {**PLAIN, "finish": ["../../x"]}}, 422, "invalid_request"),
    "a script in the request": ({"definition": {**PLAIN, "finish": ["#!/bin/sh\nid"]}}, 422, "invalid_request"),
    "a list without the readiness": (
        {"recipe": "k8s-debian-conformance", "conformance": ["a"]},
        422,
        "invalid_request",
    ),
    "another readiness": ({"recipe": "bare", "readiness": "usable"}, 422, "invalid_request"),
    "an image without conformance tests": ({"recipe": "bare", "readiness": "conformance"}, 422, "invalid_request"),
    "an owner that is none": ({"recipe": "bare", "owner": "A B"}, 422, "invalid_request"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_input(http: httpx.AsyncClient, case: str) -> None:
    body, status, code = BAD[case]
    check_problem(await http.post("/v1/images", json=body), status, code)
    assert (await http.get("/v1/bakes")).json()["bakes"] == []


@pytest.mark.parametrize("levels", [21, 300, 900, 30_000])
async def test_a_definition_of_many_levels_is_refused(http: httpx.AsyncClient, levels: int) -> None:
    body = '{"definition": {"name": "mine", "verify": ' + "[" * levels + "]" * levels + "}}"
    for headers in ({}, KEY):
        answer = await http.post("/v1/images", content=body, headers={"Content-Type": "application/json", **headers})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


async def test_variables_that_are_no_mapping_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/images", json={"definition": {**PLAIN, "vars": 5}})
    check_problem(answer, 422, "invalid_request")


async def test_an_installation_without_bakes_says_so(store: Store, infrastructure: Infrastructure) -> None:
    async with ApiHttp(infrastructure.services(store, {"bakes": "off"})) as http:
        answer = await http.post("/v1/images", json={"recipe": "bare"})
        check_problem(answer, 409, "bakes_off")
        assert "DAYFLY_BAKES" in answer.json()["detail"]
        assert (await http.get("/v1/bakes")).json()["bakes"] == []


async def test_a_full_queue_says_so(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bakes, "MOST_UNENDED", 1)
    await create(http)
    check_problem(await http.post("/v1/images", json={"recipe": "bare"}), 409, "bake_queue_full")


async def test_a_key_is_carried_out_once(http: httpx.AsyncClient) -> None:
    body = {"recipe": "bare"}
    twins = await asyncio.gather(*(http.post("/v1/images", json=body, headers=KEY) for _ in range(4)))
    assert {answer.status_code for answer in twins} == {202}
    assert len({answer.json()["id"] for answer in twins}) == 1
    assert len({answer.headers["location"] for answer in twins}) == 1
    assert sorted("idempotency-replayed" in answer.headers for answer in twins) == [False, True, True, True]
    other = await http.post("/v1/images", json={"recipe": "k8s-debian"}, headers=KEY)
    check_problem(other, 409, "idempotency_key_reused")
    await http.post("/v1/templates", json={"image": "bare"}, headers={"Idempotency-Key": "job-18"})
    other = await http.post("/v1/images", json=body, headers={"Idempotency-Key": "job-18"})
    check_problem(other, 409, "idempotency_key_reused")
    assert len((await http.get("/v1/bakes")).json()["bakes"]) == 1


async def test_pages_and_filters(http: httpx.AsyncClient) -> None:
    made = [await create(http, recipe=recipe, owner=owner) for recipe, owner in (("bare", "x"), ("k8s-debian", "y"))]
    first = await http.get("/v1/bakes?limit=1")
    assert first.headers["link"].endswith('rel="next"')
    second = (await http.get(f"/v1/bakes?limit=1&cursor={first.json()['next_cursor']}")).json()
    found = [*first.json()["bakes"], *second["bakes"]]
    assert {one["id"] for one in found} == {one["id"] for one in made}
    assert second["next_cursor"] is None
    for query, expected in (
        ("owner=x", [made[0]]),
        ("recipe=k8s-debian", [made[1]]),
        ("phase=running", []),
        ("phase=queued&phase=running&owner=y", [made[1]]),
    ):
        found = (await http.get(f"/v1/bakes?{query}")).json()["bakes"]
        assert [one["id"] for one in found] == [one["id"] for one in expected], query
    for query in ("phase=melting", "limit=0", "cursor=x", "owner=A", "recipe=.."):
        check_problem(await http.get(f"/v1/bakes?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("path", ["no-such", "..", "0123456789ab", "0123456789ab/events"])
async def test_a_bake_that_does_not_exist(http: httpx.AsyncClient, path: str) -> None:
    check_problem(await http.get(f"/v1/bakes/{path}".replace("..", "%2e%2e")), 404, "not_found")
    if "/" not in path:
        check_problem(await http.delete(f"/v1/bakes/{path}".replace("..", "%2e%2e")), 404, "not_found")


async def test_a_wait_ends_with_the_bake(http: ApiHttp, store: Store) -> None:
    asked = await create(http)
    path = f"/v1/bakes/{asked['id']}?wait=ended"
    assert (await http.get(f"{path}&timeout=0.05")).json()["phase"] == "queued"
    held = await claim(store)
    waiting = asyncio.create_task(http.get(f"{path}&timeout=60"))
    await http.until_held()
    fault = Fault("disk_full", "phase node: no space left", evidence={"output": "x\x1b[1m"})
    await store.bake_leases.end(held, BakePhase.FAILED, [], fault=fault)
    async with asyncio.timeout(20):
        ended = (await waiting).json()
    assert ended["phase"] == "failed"
    evidence = {"output": "x\x1b[1m"}
    assert ended["error"] == {"code": "disk_full", "message": "phase node: no space left", "evidence": evidence}
    [listed] = (await http.get("/v1/bakes")).json()["bakes"]
    assert listed["error"]["evidence"] == {}
    assert (await http.get(path)).json() == ended
    check_problem(await http.get(f"/v1/bakes/{asked['id']}?wait=ready"), 422, "invalid_request")


async def test_the_log_can_be_followed(http: ApiHttp, store: Store) -> None:
    asked = await create(http)
    path = f"/v1/bakes/{asked['id']}/events"
    first = (await http.get(path)).json()
    assert [one["type"] for one in first["events"]] == ["queued"]
    assert first["phase"] == "queued"
    held = await claim(store)
    more = (await http.get(f"{path}?after={first['next_after']}")).json()
    assert [one["type"] for one in more["events"]] == ["started"]
    waiting = asyncio.create_task(http.get(f"{path}?after={more['next_after']}&wait=60"))
    await http.until_held()
    step = NewBakeEvent("step.waiting", "another bake is making it", "base")
    await store.bake_leases.record(held, [step, NewBakeEvent(LINE, "a\nb\x07", "base")])
    async with asyncio.timeout(20):
        found = (await waiting).json()
    assert [(one["type"], one["step"], one["message"]) for one in found["events"]] == [
        ("step.waiting", "base", "another bake is making it"),
        ("line", "base", "a b\ufffd"),
    ]
    await store.bake_leases.end(held, BakePhase.SUCCEEDED, [], image=IMAGE)
    last = (await http.get(f"{path}?after={found['next_after']}&wait=60")).json()
    assert ([one["type"] for one in last["events"]], last["phase"]) == (["succeeded"], "succeeded")
    over = (await http.get(f"{path}?after={last['next_after']}&wait=60")).json()
    assert (over["events"], over["next_after"]) == ([], last["next_after"])
    assert len((await http.get(f"{path}?limit=2")).json()["events"]) == 2


async def test_a_cancellation(http: httpx.AsyncClient, store: Store) -> None:
    queued = await create(http)
    answers = [await http.delete(f"/v1/bakes/{queued['id']}") for _ in range(2)]
    assert [(answer.status_code, answer.json()["phase"]) for answer in answers] == [(200, "cancelled")] * 2
    running = await create(http)
    held = await claim(store)
    answers = [await http.delete(f"/v1/bakes/{running['id']}") for _ in range(2)]
    assert [(answer.status_code, answer.json()["phase"]) for answer in answers] == [(202, "running")] * 2
    assert answers[0].json()["cancel_requested_at"] is not None
    assert answers[0].json() == answers[1].json()
    await store.bake_leases.end(held, BakePhase.CANCELLED, [])
    again = await http.delete(f"/v1/bakes/{running['id']}")
    assert (again.status_code, again.json()["phase"]) == (200, "cancelled")


async def test_metrics(http: httpx.AsyncClient, store: Store) -> None:
    async def figures() -> dict[str, float]:
        lines = (await http.get("/metrics")).text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("dayfly_bake"))
        return {name: float(number) for name, number in pairs}

    before = await figures()
    assert before['dayfly_bakes{phase="queued"}'] == before["dayfly_bake_queue_oldest_timestamp_seconds"] == 0
    assert 'dayfly_bake_failures_total{code="bake_interrupted"}' in before
    assert 'dayfly_bake_duration_seconds_count{phase="cancelled"}' in before
    await create(http)
    await create(http)
    await claim(store)
    after = await figures()
    assert (after['dayfly_bakes{phase="queued"}'], after['dayfly_bakes{phase="running"}']) == (1, 1)
    assert after["dayfly_bake_queue_oldest_timestamp_seconds"] > 1e9
