"""/v1/orphans: what nothing owns is listed and removed. Which that is: tests/scenarios/test_gc.py."""

from __future__ import annotations

import httpx

from dayfly.errors import EngineUnavailable
from tests.api.test_bad_input import check_problem
from tests.support.api import Outside

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
    assert (answer.status_code, answer.json()) == (200, {"orphans": [GONE, USED]})


async def test_an_orphan_that_was_not_removed_is_reported(http: httpx.AsyncClient) -> None:
    answer = await http.delete("/v1/orphans")
    assert (answer.status_code, answer.json()) == (200, {"orphans": [GONE, {**USED, "error": "volume is in use"}]})


async def test_an_engine_that_does_not_answer_is_a_problem(http: httpx.AsyncClient, infrastructure: Outside) -> None:
    infrastructure.orphans.broken = EngineUnavailable("the engine does not answer")
    for method in ("GET", "DELETE"):
        check_problem(await http.request(method, "/v1/orphans"), 503, "engine_unavailable")
