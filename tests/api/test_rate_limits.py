"""Requests of one principal in a minute."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from dayfly.api.app import create_api
from dayfly.api.rate_limits import RateLimits
from dayfly.domain.security.principal import Principal, Role
from dayfly.store import Store
from tests.api.test_bad_input import check_problem
from tests.support.acting_as import ActingAs
from tests.support.api import Infrastructure


def http_of(api: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://127.0.0.1:8700")


async def test_beyond_the_limit_a_caller_waits_and_others_do_not(store: Store, infrastructure: Infrastructure) -> None:
    services = infrastructure.services(store, rates=RateLimits(3))
    async with ActingAs(services, Principal("token:0", "default", Role.USER)) as http:
        for path in ("/v1/clusters", "/v1/clusters/none-such", "/v1/quota"):
            assert (await http.get(path)).status_code in {200, 404}
        for _ in range(2):
            refused = await http.get("/v1/clusters")
            check_problem(refused, 429, "rate_limited")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        made = await http.post("/v1/clusters", json={"image": "bare"})
        check_problem(made, 429, "rate_limited")
        # What watches the service is not counted.
        for path in ("/healthz", "/v1/version", "/metrics"):
            assert (await http.get(path)).status_code == 200
        http.principal = Principal("token:1", "default", Role.USER)
        found = await http.get("/v1/clusters")
        assert (found.status_code, found.json()["clusters"]) == (200, [])


async def test_the_default_is_generous(store: Store, infrastructure: Infrastructure) -> None:
    async with http_of(create_api(infrastructure.services(store))) as http:
        for _ in range(50):
            assert (await http.get("/v1/quota")).status_code == 200
