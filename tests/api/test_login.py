"""GET /v1/login: the issuers by which people log in."""

from __future__ import annotations

import httpx

from dayfly.domain.security.oidc import Issuer
from tests.support.api import Infrastructure

PEOPLE = Issuer("people", "https://issuer.example", ("client", "https://dayfly.example"), client_id="client")


async def test_without_oidc_there_is_none(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/login")).json() == {"issuers": []}


async def test_issuers_with_a_client_are_for_people(http: httpx.AsyncClient, infrastructure: Infrastructure) -> None:
    infrastructure.login_issuers = (Issuer("ci", "https://ci.example", ("dayfly",)), PEOPLE)
    answer = await http.get("/v1/login")
    assert answer.json() == {
        "issuers": [{"name": "people", "url": "https://issuer.example", "client_id": "client", "scopes": ["openid"]}]
    }
