"""The readiness `conformance`: which requests may have it, and what they are answered."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.specs import CONFORMANCE

TESTED = {"image": "tested", "readiness": "conformance"}


async def test_the_list_is_the_requests_or_the_images(http: httpx.AsyncClient, store: Store) -> None:
    answer = await http.post("/v1/clusters", json=TESTED)
    assert answer.status_code == 202
    made = answer.json()
    assert (made["readiness"], made["conformance"]) == ("conformance", list(CONFORMANCE.specs))
    assert (await store.clusters.get(made["id"])).spec.readiness == "usable"
    made = (await http.post("/v1/clusters", json={**TESTED, "conformance": ["sig-b", "one  two"]})).json()
    assert made["conformance"] == ["sig-b", "one  two"]
    made = (await http.post("/v1/clusters", json={"image": "tested"})).json()
    assert (made["readiness"], made["conformance"]) == ("usable", [])


async def test_a_template_of_usable_has_the_shape(http: httpx.AsyncClient, store: Store) -> None:
    template = (await http.post("/v1/templates", json={"image": "tested"})).json()
    cluster = (await http.post("/v1/clusters", json=TESTED)).json()
    made = await store.clusters.get(cluster["id"])
    assert made.spec.shape == (await store.templates.get(template["id"])).spec.shape


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("clusters", {"image": "k8s"}, "readiness: the image k8s has no conformance tests"),
        ("clusters", {"image": "bare"}, "readiness: an image without Kubernetes allows 'booted' only"),
        ("templates", {}, "readiness: conformance specs run on a cluster before its caller gets it"),
        ("pools", {"name": "ci", "size": 1}, "readiness: conformance specs run on a cluster before its caller gets it"),
    ],
)
async def test_who_cannot_have_it_is_told_why(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], detail: str
) -> None:
    answer = await http.post(f"/v1/{path}", json={**TESTED, **body})
    check_problem(answer, 422, "invalid_request")
    assert answer.json()["detail"].startswith(detail)
    if "tests" in detail:
        assert "dayfly image bake k8s-debian-conformance" in answer.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"readiness": "usable", "conformance": ["a"]},
        {"conformance": [""]},
        {"conformance": [" "]},
        {"conformance": ["a\nb"]},
        {"conformance": ["a" * 401]},
        {"conformance": ["a"] * 501},
        {"conformance": "a"},
    ],
)
async def test_a_list_that_cannot_be_one_is_rejected(http: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    check_problem(await http.post("/v1/clusters", json={**TESTED, **wrong}), 422, "invalid_request")
