"""POST …/reset, …/hibernate, …/resume; and waits for clusters in those states."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.test_bad_input import check_problem
from tests.api.test_long_poll import held
from tests.support.api import Worker


@pytest.fixture
async def identity(http: httpx.AsyncClient, worker: Worker) -> str:
    """Of `demo`, which is ready."""
    answer = await http.post("/v1/clusters", json={"name": "demo", "image": "k8s"})
    await worker.tend()
    found: str = answer.json()["id"]
    return found


async def post(http: httpx.AsyncClient, what: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(f"/v1/clusters/demo/{what}", json=body or None)
    assert answer.status_code == 202, answer.text
    cluster: dict[str, Any] = answer.json()
    return cluster


async def test_a_reset_keeps_all_that_leads_to_the_cluster(
    http: httpx.AsyncClient, identity: str, worker: Worker
) -> None:
    before = (await http.get("/v1/clusters/demo")).json()
    kubeconfig = (await http.get("/v1/clusters/demo/kubeconfig")).text
    asked = await post(http, "reset")
    assert (asked["phase"], asked["reset_to"], asked["generation"]) == ("ready", "pristine", 2)
    await worker.tend()
    after = (await http.get("/v1/clusters/demo")).json()
    assert (after["phase"], after["reset_to"], after["generation"]) == ("ready", None, 2)
    assert (after["id"], after["endpoints"], after["ready_at"]) == (identity, before["endpoints"], before["ready_at"])
    assert (await http.get("/v1/clusters/demo/kubeconfig")).text == kubeconfig


async def test_a_reset_requested_twice_is_one(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    assert await post(http, "reset") == await post(http, "reset", to="pristine")
    await worker.tend()
    assert (await http.get("/v1/clusters/demo")).json()["generation"] == 2


async def test_a_reset_to_a_checkpoint(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    await http.post("/v1/clusters/demo/checkpoints", json={"name": "with-data"})
    to = {"to": {"checkpoint": "with-data"}}
    early = await http.post("/v1/clusters/demo/reset", json=to)
    check_problem(early, 409, "conflict")
    await worker.tend()
    asked = await post(http, "reset", **to)
    assert asked["reset_to"] == {"checkpoint": "with-data"}
    other = await http.post("/v1/clusters/demo/reset", json={"to": "pristine"})
    check_problem(other, 409, "conflict")
    await worker.tend()
    assert (await http.get("/v1/clusters/demo")).json()["reset_to"] is None


async def test_what_it_is_made_from_is_shown_meanwhile(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    await post(http, "reset")
    claim = await worker.claim()
    requested = claim.cluster.reset_to
    await worker.store.provisioning.begin(claim, requested, reset=True)
    cluster = (await http.get("/v1/clusters/demo")).json()
    assert (cluster["phase"], cluster["origin"], cluster["reset_to"]) == ("provisioning", "image", None)
    assert cluster["generation"] == 2


async def test_there_is_no_such_checkpoint(http: httpx.AsyncClient, identity: str) -> None:
    answer = await http.post("/v1/clusters/demo/reset", json={"to": {"checkpoint": "nothing"}})
    check_problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"to": "yesterday"}, "to.pristine"),
        ({"to": None}, "to.pristine"),
        ({"to": []}, "to.pristine"),
        ({"to": {}}, "to.checkpoint.checkpoint"),
        ({"to": {"checkpoint": ""}}, "to.checkpoint.checkpoint"),
        ({"to": {"checkpoint": "-a"}}, "to.checkpoint.checkpoint"),
        ({"to": {"checkpoint": "a\n"}}, "to.checkpoint.checkpoint"),
        ({"to": {"checkpoint": "a" * 41}}, "to.checkpoint.checkpoint"),
        ({"to": {"checkpoint": "a", "x": 1}}, "to.checkpoint.x"),
        ({"too": "pristine"}, "too"),
        ([], ""),
    ],
)
async def test_a_reset_that_is_wrong_is_named(http: httpx.AsyncClient, identity: str, body: Any, path: str) -> None:
    problem = check_problem(await http.post("/v1/clusters/demo/reset", json=body), 422, "invalid_request")
    assert path in {error["path"] for error in problem["errors"]}
    assert (await http.get("/v1/clusters/demo")).json()["reset_to"] is None


@pytest.mark.parametrize(
    ("what", "wait"), [("reset", "hibernated"), ("hibernate", "ready"), ("resume", "settled"), ("reset", "deleted")]
)
async def test_waiting_for_what_will_not_be(http: httpx.AsyncClient, identity: str, what: str, wait: str) -> None:
    check_problem(await http.post(f"/v1/clusters/demo/{what}?wait={wait}"), 422, "invalid_request")
    cluster = (await http.get("/v1/clusters/demo")).json()
    assert (cluster["desired"], cluster["reset_to"]) == ("present", None)


async def test_sleep_and_waking(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    kubeconfig = (await http.get("/v1/clusters/demo/kubeconfig")).text
    asked = await post(http, "hibernate")
    assert (asked["phase"], asked["desired"]) == ("ready", "hibernated")
    refused = check_problem(await http.get("/v1/clusters/demo/kubeconfig"), 409, "not_ready")
    assert "being hibernated" in refused["detail"]
    await worker.tend()
    asleep = (await http.get("/v1/clusters?phase=hibernated")).json()["clusters"]
    assert [one["id"] for one in asleep] == [identity]
    check_problem(await http.get("/v1/clusters/demo/kubeconfig"), 409, "not_ready")
    assert (await post(http, "hibernate"))["phase"] == "hibernated"
    assert (await post(http, "resume"))["desired"] == "present"
    await worker.tend()
    assert (await post(http, "resume"))["phase"] == "ready"
    assert (await http.get("/v1/clusters/demo/kubeconfig")).text == kubeconfig
    assert (await http.get("/v1/clusters/demo")).json()["generation"] == 1


@pytest.mark.parametrize("what", ["reset", "hibernate"])
async def test_only_a_ready_one(http: httpx.AsyncClient, worker: Worker, what: str) -> None:
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    check_problem(await http.post(f"/v1/clusters/demo/{what}"), 409, "not_ready")
    await worker.tend()
    await http.post("/v1/clusters/demo/hibernate")
    await worker.tend()
    if what == "reset":
        check_problem(await http.post("/v1/clusters/demo/reset"), 409, "not_ready")
    await http.delete("/v1/clusters/demo")
    check_problem(await http.post(f"/v1/clusters/demo/{what}"), 409, "conflict")
    check_problem(await http.post(f"/v1/clusters/nothing/{what}"), 404, "not_found")


async def test_a_failed_one_cannot_be_resumed(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "bad", "image": "bare"})
    await worker.tend()
    check_problem(await http.post("/v1/clusters/bad/resume"), 409, "conflict")


async def test_one_that_is_to_be_reset_is_not_ready(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    await post(http, "reset")
    cluster = await held(http, "/v1/clusters/demo?wait=ready&timeout=60", worker.tend())
    assert (cluster["phase"], cluster["reset_to"], cluster["generation"]) == ("ready", None, 2)
    await post(http, "reset")
    settled = await held(http, "/v1/clusters/demo?wait=settled&timeout=60", worker.tend())
    assert settled["generation"] == 3


async def test_the_answer_can_be_held(http: httpx.AsyncClient, identity: str, worker: Worker) -> None:
    url = "/v1/clusters/demo/reset?wait=ready&timeout=60"
    assert (await held(http, url, worker.tend(), "POST"))["generation"] == 2
    url = "/v1/clusters/demo/hibernate?wait=hibernated&timeout=60"
    assert (await held(http, url, worker.tend(), "POST"))["phase"] == "hibernated"
    url = "/v1/clusters/demo/resume?wait=ready&timeout=60"
    assert (await held(http, url, worker.tend(), "POST"))["phase"] == "ready"


async def test_waiting_ends_when_something_else_is_wanted(
    http: httpx.AsyncClient, identity: str, worker: Worker
) -> None:
    await post(http, "hibernate")
    now = (await http.get("/v1/clusters/demo?wait=ready&timeout=60")).json()
    assert (now["phase"], now["desired"]) == ("ready", "hibernated")
    asleep = await held(http, "/v1/clusters/demo?wait=settled&timeout=60", worker.tend())
    assert asleep["phase"] == "hibernated"
    await post(http, "resume")
    again = (await http.get("/v1/clusters/demo?wait=hibernated&timeout=60")).json()
    assert (again["phase"], again["desired"]) == ("hibernated", "present")
    awake = await held(http, "/v1/clusters/demo?wait=ready&timeout=60", worker.tend())
    assert awake["phase"] == "ready"
    await http.delete("/v1/clusters/demo")
    going = (await http.get("/v1/clusters/demo?wait=hibernated&timeout=60")).json()
    assert going["desired"] == "absent"


async def test_isolation_and_idleness_are_kept(http: httpx.AsyncClient, worker: Worker) -> None:
    body = {"name": "demo", "image": "bare", "isolation": "strict", "idle_seconds": 60}
    hold = {"seconds": 60, "reason": "x", "vms": "hibernated"}
    made = (await http.post("/v1/clusters", json={**body, "hold": hold})).json()
    assert (made["isolation"], made["idle_seconds"], made["hold"]["vms"]) == ("strict", 60, "hibernated")
    assert (made["purpose"], made["template"], made["pool"], made["generation"]) == ("cluster", None, None, 1)
    await worker.tend()
    other = (await http.post("/v1/clusters", json={"image": "bare"})).json()
    assert (other["isolation"], other["idle_seconds"], other["active_at"]) == ("shared", None, None)
