"""/v1/clusters/{cluster}/checkpoints."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.test_bad_input import check_problem
from tests.support.api import Worker
from tests.support.obedience import SAVED_BYTES

CHECKPOINTS = "/v1/clusters/demo/checkpoints"


@pytest.fixture(autouse=True)
async def _ready_cluster(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    await worker.tend()


async def names(http: httpx.AsyncClient) -> list[str]:
    return [one["name"] for one in (await http.get(CHECKPOINTS)).json()["checkpoints"]]


async def test_from_a_request_to_its_deletion(http: httpx.AsyncClient, worker: Worker) -> None:
    asked = await http.post(CHECKPOINTS, json={"name": "first"})
    assert (asked.status_code, asked.json()["phase"], asked.json()["size_bytes"]) == (202, "creating", 0)
    assert (await http.get(asked.headers["location"])).json() == asked.json()
    await http.post(CHECKPOINTS, json={"name": "a-second"})
    await worker.tend()
    made = (await http.get(f"{CHECKPOINTS}/first")).json()
    assert (made["phase"], made["size_bytes"]) == ("ready", SAVED_BYTES)
    assert await names(http) == ["first", "a-second"]
    for _ in range(2):
        gone = await http.delete(f"{CHECKPOINTS}/first")
        assert (gone.status_code, gone.json()["phase"]) == (202, "deleting")
    await worker.tend()
    assert await names(http) == ["a-second"]
    check_problem(await http.get(f"{CHECKPOINTS}/first"), 404, "not_found")
    check_problem(await http.delete(f"{CHECKPOINTS}/first"), 404, "not_found")


async def test_a_name_is_taken_once(http: httpx.AsyncClient) -> None:
    await http.post(CHECKPOINTS, json={"name": "first"})
    check_problem(await http.post(CHECKPOINTS, json={"name": "first"}), 409, "conflict")


async def test_there_are_not_too_many(http: httpx.AsyncClient) -> None:
    for number in range(16):
        assert (await http.post(CHECKPOINTS, json={"name": f"n{number}"})).status_code == 202
    refused = check_problem(await http.post(CHECKPOINTS, json={"name": "one-more"}), 409, "conflict")
    assert "16" in refused["detail"]


async def test_only_of_a_ready_cluster(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "waiting", "image": "bare"})
    refused = await http.post("/v1/clusters/waiting/checkpoints", json={"name": "first"})
    check_problem(refused, 409, "not_ready")
    check_problem(await http.post("/v1/clusters/nothing/checkpoints", json={"name": "a"}), 404, "not_found")
    check_problem(await http.get("/v1/clusters/nothing/checkpoints"), 404, "not_found")
    await http.delete("/v1/clusters/demo")
    check_problem(await http.post(CHECKPOINTS, json={"name": "late"}), 409, "conflict")


async def test_one_that_is_being_reset_to_stays(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post(CHECKPOINTS, json={"name": "first"})
    await worker.tend()
    await http.post("/v1/clusters/demo/reset", json={"to": {"checkpoint": "first"}})
    check_problem(await http.delete(f"{CHECKPOINTS}/first"), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "A"}, "name"),
        ({"name": "a-"}, "name"),
        ({"name": "a\0"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "a" * 41}, "name"),
        ({"name": "../a"}, "name"),
        ({"name": "a", "x": 1}, "x"),
        ([], ""),
    ],
)
async def test_a_checkpoint_that_is_wrong_is_named(http: httpx.AsyncClient, body: Any, path: str) -> None:
    problem = check_problem(await http.post(CHECKPOINTS, json=body), 422, "invalid_request")
    assert path in {error["path"] for error in problem["errors"]}
    assert await names(http) == []


@pytest.mark.parametrize("name", ["nothing", "A", "a%00", "%2e%2e", "a" * 5000])
async def test_what_is_not_there(http: httpx.AsyncClient, name: str) -> None:
    for method in ("GET", "DELETE"):
        check = await http.request(method, f"{CHECKPOINTS}/{name}")
        assert (check.status_code, check.json()["code"]) == (404, "not_found")
