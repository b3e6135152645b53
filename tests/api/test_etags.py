"""ETag of GET and PATCH, and If-Match on PATCH."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx
import pytest

from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.api import Worker

POOL: Final = {"name": "ci", "image": "bare", "size": 1}
CHANGES: Final[dict[str, list[dict[str, Any]]]] = {
    "/v1/clusters/demo": [
        {"ttl_seconds": 4000},
        {"labels": {"a": "b"}},
        {"hold": {"seconds": 60, "reason": "look"}},
        {"idle_seconds": 600},
    ],
    "/v1/pools/ci": [
        {"size": 2},
        {"maximum": 9},
        {"max_age_seconds": 7200},
        {"schedule": [{"days": ["mon"], "since": "08:00", "until": "18:00", "size": 3}]},
    ],
}


@pytest.fixture(autouse=True)
async def _there(http: httpx.AsyncClient, worker: Worker) -> None:
    assert (await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})).status_code == 202
    await worker.tend()
    assert (await http.post("/v1/pools", json=POOL)).status_code == 201


@pytest.fixture(params=CHANGES)
def path(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def tag(http: httpx.AsyncClient, path: str) -> str:
    answer = await http.get(path)
    found: str = answer.headers["etag"]
    assert found.startswith('"'), "a weak tag never matches If-Match"
    return found


async def test_every_change_has_another_tag(http: httpx.AsyncClient, path: str) -> None:
    seen = [await tag(http, path)]
    for change in CHANGES[path]:
        answer = await http.patch(path, json=change, headers={"If-Match": seen[-1]})
        assert answer.status_code == 200, answer.text
        assert answer.headers["etag"] == await tag(http, path)
        seen.append(answer.headers["etag"])
        same = await http.patch(path, json=change)
        assert change.keys() == {"hold"} or same.headers["etag"] == seen[-1]
        seen.append(same.headers["etag"])
    assert len(set(seen)) >= 1 + len(CHANGES[path])


async def test_a_change_of_another_is_not_lost(http: httpx.AsyncClient, path: str) -> None:
    first, second, *_ = CHANGES[path]
    seen = await tag(http, path)
    await http.patch(path, json=first)
    before = (await http.get(path)).json()
    refused = await http.patch(path, json=second, headers={"If-Match": seen})
    assert "get it again" in check_problem(refused, 412, "precondition_failed")["detail"]
    after = (await http.get(path)).json()
    assert {name: after[name] for name in second} == {name: before[name] for name in second}
    again = await http.patch(path, json=second, headers={"If-Match": await tag(http, path)})
    assert again.status_code == 200


async def test_which_headers_match(http: httpx.AsyncClient, path: str) -> None:
    change = CHANGES[path][0]
    await http.patch(path, json=change)
    seen = await tag(http, path)
    for header in ("*", seen, f'"x", {seen}', f'{seen},W/"x"', f'  {seen} , "x" '):
        answer = await http.patch(path, json=change, headers={"If-Match": header})
        assert (answer.status_code, answer.headers["etag"]) == (200, seen)
    for header in ('"x"', f"W/{seen}", '""', f'{seen[:-2]}"'):
        check_problem(await http.patch(path, json=change, headers={"If-Match": header}), 412, "precondition_failed")
    for header in ("x", seen[:-1], "", f"{seen} {seen}", f"*, {seen}"):
        check_problem(await http.patch(path, json=change, headers={"If-Match": header}), 422, "invalid_request")


async def test_what_changes_by_itself_has_no_part_in_it(
    http: httpx.AsyncClient, worker: Worker, store: Store, path: str
) -> None:
    seen = await tag(http, path)
    await http.post("/v1/clusters/demo/reset")
    await worker.tend()
    await http.post("/v1/clusters/demo/hibernate")
    await worker.tend()
    assert await tag(http, path) == seen


async def test_a_name_that_another_has_now_does_not_match(http: httpx.AsyncClient, worker: Worker, path: str) -> None:
    seen = await tag(http, path)
    await http.delete(path)
    await worker.tend()
    assert (await http.patch(path, json=CHANGES[path][0], headers={"If-Match": seen})).status_code == 404
    await http.post("/v1/clusters", json={"name": "demo", "image": "bare"})
    await http.post("/v1/pools", json=POOL)
    await worker.tend()
    refused = await http.patch(path, json=CHANGES[path][0], headers={"If-Match": seen})
    check_problem(refused, 412, "precondition_failed")


async def test_one_of_many_changes_of_the_same_state_is_made(http: httpx.AsyncClient, path: str) -> None:
    seen = {"If-Match": await tag(http, path)}
    change = "ttl_seconds" if "clusters" in path else "max_age_seconds"
    answers = await asyncio.gather(
        *(http.patch(path, json={change: 5000 + number}, headers=seen) for number in range(8))
    )
    assert sorted(one.status_code for one in answers) == [200, *[412] * 7]


async def test_addons_have_a_part_in_it(http: httpx.AsyncClient, worker: Worker) -> None:
    await http.post("/v1/clusters", json={"name": "k", "image": "k8s"})
    await worker.tend()
    seen = {await tag(http, "/v1/clusters/k")}
    for addons in (["tea"], [], ["tea"]):
        assert (await http.patch("/v1/clusters/k", json={"addons": addons})).status_code == 200
        await worker.tend()
        seen.add(await tag(http, "/v1/clusters/k"))
    assert len(seen) == 4


async def test_a_template_has_a_tag_of_its_record(http: httpx.AsyncClient, worker: Worker) -> None:
    made = (await http.post("/v1/templates", json={"image": "bare"})).json()
    path = f"/v1/templates/{made['id']}"
    building = await tag(http, path)
    assert await tag(http, path) == building
    await worker.tend()
    assert await tag(http, path) != building
