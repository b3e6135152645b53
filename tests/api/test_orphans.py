"""/v1/orphans: orphans are listed and removed. Not here: which objects are orphans (tests/scenarios/test_gc.py)."""

from __future__ import annotations

import httpx
import pytest

from dayfly.errors import EngineUnavailable
from tests.api.test_bad_input import check_problem
from tests.support.api import Infrastructure

GONE = {
    "kind": "volume",
    "name": "gone-data",
    "cluster": "0123456789ab",
    "template": None,
    "why": "cluster 0123456789ab is deleted",
    "error": None,
}
USED = {
    "kind": "volume",
    "name": "used",
    "cluster": None,
    "template": "feedfeedfeed",
    "why": "template feedfeedfeed is retired",
    "error": None,
}


async def test_orphans_are_listed(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/orphans")
    assert (answer.status_code, answer.json()) == (200, {"orphans": [GONE, USED], "next_cursor": None})


async def test_an_orphan_that_was_not_removed_is_reported(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/v1/orphans")
    assert (answer.status_code, answer.json()) == (
        200,
        {"orphans": [GONE, {**USED, "error": "volume is in use"}], "next_cursor": None},
    )


async def test_pages_of_orphans(http: httpx.AsyncClient) -> None:
    for method in ("GET", "DELETE"):
        first = (await http.request(method, "/v1/orphans", params={"limit": 1})).json()
        assert [one["name"] for one in first["orphans"]] == ["gone-data"]
        rest = (await http.request(method, "/v1/orphans", params={"limit": 1, "cursor": first["next_cursor"]})).json()
        assert ([one["name"] for one in rest["orphans"]], rest["next_cursor"]) == (["used"], None)


@pytest.mark.parametrize("query", ["cursor=pod/a/b", "cursor=volume", "cursor=a%0ab", "limit=0", "limit=501"])
async def test_a_page_that_is_none(http: httpx.AsyncClient, query: str) -> None:
    check_problem(await http.get(f"/v1/orphans?{query}"), 422, "invalid_request")


async def test_an_engine_that_does_not_answer_is_a_problem(
    http: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    infrastructure.orphans.broken = EngineUnavailable("the engine does not answer")
    for method in ("GET", "DELETE"):
        check_problem(await http.request(method, "/v1/orphans"), 503, "engine_unavailable")
