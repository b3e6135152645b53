"""Tokens of an OIDC issuer through the whole API: the OIDC columns of the authorization matrix, and bounds.

Not here: the columns of other callers (test_authorization.py), what an authenticator does (tests/unit/oidc).
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import update

from dayfly.api.authentication import Authentication
from dayfly.api.operations import OPERATIONS
from dayfly.api.token_authentication import TokenAuthenticator
from dayfly.clock import SystemClock
from dayfly.domain.security.claim_expression_parser import parse
from dayfly.domain.security.oidc import Issuer, OidcRules, Rule
from dayfly.domain.security.principal import UNBOUNDED, Bounds, Role
from dayfly.oidc.authenticator import OidcAuthenticator
from dayfly.oidc.issuer_documents import fetch_keys
from dayfly.oidc.issuer_keys import PAUSE_SECONDS
from dayfly.store import Store
from dayfly.store.db.tables import clusters
from tests.api.access import OURS, THEIRS, bearer, make_belongings
from tests.api.test_authorization import REQUESTS, expected, operations
from tests.api.test_bad_input import check_problem
from tests.support.api import ApiHttp, Infrastructure, Worker
from tests.support.clock import FakeClock
from tests.support.node_images import baked
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, SigningKey, rsa_key

LEEWAY = 3600
"""Long: a busy machine may need minutes for all operations."""
OLD, NEW, STRANGE = rsa_key("old"), rsa_key("new"), rsa_key("strange")
BOUNDS = Bounds(max_ttl_seconds=600, max_nodes=2)


@dataclass
class Lab:
    """An API that accepts the tokens of `issuer` by the claim `job`."""

    http: httpx.AsyncClient
    issuer: OidcIssuer
    clock: FakeClock

    def token(self, key: SigningKey | None = None, job: str = "user", **claims: Any) -> str:
        return self.issuer.token(key, job=job, **claims)

    def refused_tokens(self) -> dict[str, str]:
        """The tokens of operators but for one fault each."""
        now, signed = int(time.time()), partial(self.token, job="operator")
        claims = self.issuer.claims(job="operator")
        return {
            "wrong issuer": signed(iss="https://elsewhere.example"),
            "wrong audience": signed(aud="https://elsewhere.example"),
            "algorithm none": f"{_part({'alg': 'none', 'kid': 'old'})}.{_part(claims)}.",
            "HMAC with the public key": _hmac(claims),
            "unknown key": signed(STRANGE),
            "expired": signed(exp=now - LEEWAY - 10),
            "clock ahead beyond the leeway": signed(iat=now + LEEWAY + 3600),
            "not valid yet": signed(nbf=now + LEEWAY + 3600),
            "without a subject": signed(sub=None),
        }


def _part(content: object) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _hmac(claims: object) -> str:
    secret = OLD.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part({'alg': 'HS256', 'kid': 'old'})}.{_part(claims)}"
    return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), 'sha256'))}"


@pytest.fixture
async def lab(store: Store, infrastructure: Infrastructure) -> AsyncIterator[Lab]:
    for name in (OURS, THEIRS):
        await store.teams.create(name, "")
    async with OidcIssuer([OLD]).serving() as issuer:
        known = Issuer("ci", issuer.url, (AUDIENCE,), leeway_seconds=LEEWAY, allow_http=True)
        rules = [Rule(role, "ci", parse(f'job == "{role}"'), OURS, role, UNBOUNDED) for role in Role]
        rules += [
            Rule("bounded", "ci", parse('job == "bounded"'), OURS, Role.USER, BOUNDS),
            Rule("gone", "ci", parse('job == "gone"'), "gone", Role.USER, UNBOUNDED),
        ]
        in_force, clock = OidcRules((known,), tuple(rules)), FakeClock()
        authenticator = OidcAuthenticator(lambda: in_force, store.teams.get, clock, partial(fetch_keys, seconds=60.0))
        tokens = TokenAuthenticator(store, SystemClock())
        authentication = Authentication(authenticators=(tokens, authenticator))
        async with ApiHttp(infrastructure.services(store, authentication=authentication)) as http:
            yield Lab(http, issuer, clock)
        await tokens.settle()


async def _statuses(lab: Lab, token: str, ids: dict[str, str]) -> dict[str, httpx.Response]:
    answers = {}
    for operation_id, method, path in operations():
        parameters, body, _ = REQUESTS[operation_id]
        values = {name: ids.get(value.strip("<>"), value) for name, value in parameters.items()}
        answers[operation_id] = await lab.http.request(method, path.format(**values), json=body, headers=bearer(token))
    return answers


async def test_no_operation_accepts_a_token_with_a_fault(lab: Lab) -> None:
    wrong = []
    for fault, token in lab.refused_tokens().items():
        for operation_id, answer in (await _statuses(lab, token, {})).items():
            if OPERATIONS[operation_id].role is None:
                assert answer.status_code not in {401, 403}, (fault, operation_id)
            elif answer.status_code != 401:
                wrong.append((fault, operation_id, answer.status_code, answer.text[:200]))
            else:
                check_problem(answer, 401, "token_refused")
                assert answer.headers["www-authenticate"] == 'Bearer realm="dayfly"'
    assert wrong == []


@pytest.mark.parametrize("role", [Role.VIEWER, Role.USER])
async def test_a_token_may_what_its_rules_role_may(
    lab: Lab, store: Store, infrastructure: Infrastructure, worker: Worker, role: Role
) -> None:
    for digest in ("b" * 12, "a" * 12):  # the last has the tag `latest`
        baked(infrastructure.stored, "k8s", digest)
    ids: dict[str, str] = {}
    # Clocks may differ by the leeway, in both directions.
    now, off = int(time.time()), LEEWAY // 2
    token = lab.token(job=role.value, iat=now + off, nbf=now + off, exp=now - off)
    await make_belongings(store, worker, ids, lab.http)
    found = {operation_id: answer.status_code for operation_id, answer in (await _statuses(lab, token, ids)).items()}
    assert found == {operation_id: expected(operation_id, f"our {role}") for operation_id, _, _ in operations()}


async def test_a_rotated_key_counts_no_longer(lab: Lab) -> None:
    assert (await lab.http.get("/v1/whoami", headers=bearer(lab.token(OLD)))).status_code == 200
    lab.issuer.keys = [NEW]
    lab.clock.advance(PAUSE_SECONDS)
    assert (await lab.http.get("/v1/whoami", headers=bearer(lab.token(NEW)))).status_code == 200
    check_problem(await lab.http.get("/v1/whoami", headers=bearer(lab.token(OLD))), 401, "token_refused")


async def test_who_a_token_is(lab: Lab) -> None:
    found = (await lab.http.get("/v1/whoami", headers=bearer(lab.token(job="admin", sub="repo:org/app")))).json()
    assert (found["principal"], found["team"], found["role"]) == ("oidc:ci:repo:org/app", OURS, "admin")


@pytest.mark.parametrize("job", ["other", "gone"])
async def test_a_token_without_a_team_is_forbidden(lab: Lab, job: str) -> None:
    answer = await lab.http.get("/v1/clusters", headers=bearer(lab.token(job=job)))
    check_problem(answer, 403, "no_rule_matches")
    named = "aud, exp, iat, iss, job, nbf" if job == "other" else "its team gone does not exist"
    assert named in answer.json()["detail"]


async def test_an_issuer_that_is_down_is_an_outage(lab: Lab) -> None:
    lab.issuer.respond = lambda _: (500, {}, b"")
    answer = await lab.http.get("/v1/clusters", headers=bearer(lab.token()))
    check_problem(answer, 503, "issuer_unavailable")
    assert lab.issuer.url not in answer.text, "what an issuer answers is for the log"
    assert answer.headers["retry-after"]


async def test_bounds_limit_what_a_token_creates(lab: Lab) -> None:
    user = bearer(lab.token(job="bounded"))

    async def post(path: str, **body: Any) -> httpx.Response:
        return await lab.http.post(path, json={"image": "k8s", **body}, headers=user)

    long_lived, large = {"ttl_seconds": 601}, {"ttl_seconds": 600, "workers": {"count": 2}}
    for body in (long_lived, large, {}):
        for query in ("", "?dry_run=true"):
            check_problem(await post(f"/v1/clusters{query}", **body), 403, "over_bounds")
    for path, body in (("/v1/templates", {}), ("/v1/pools", {"name": "warm", "size": 1})):
        check_problem(await post(path, **body, workers={"count": 2}), 403, "over_bounds")
    made = await post("/v1/clusters", name="demo", ttl_seconds=600, workers={"count": 1})
    assert made.status_code == 202
    for ttl in (601, None):
        changed = await lab.http.patch("/v1/clusters/demo", json={"ttl_seconds": ttl}, headers=user)
        check_problem(changed, 403, "over_bounds")
    assert (await lab.http.patch("/v1/clusters/demo", json={"ttl_seconds": 60}, headers=user)).status_code == 200
    assert (await lab.http.patch("/v1/clusters/demo", json={"labels": {"a": "b"}}, headers=user)).status_code == 200


async def test_no_hold_outlives_the_longest_time_to_live_of_a_token(lab: Lab, store: Store, worker: Worker) -> None:
    user = bearer(lab.token(job="bounded"))
    body = {"name": "demo", "image": "k8s", "ttl_seconds": 60}

    async def hold(seconds: int) -> httpx.Response:
        wanted = {"hold": {"seconds": seconds, "reason": "look"}}
        return await lab.http.patch("/v1/clusters/demo", json=wanted, headers=user)

    for query in ("", "?dry_run=true"):
        longer = {**body, "hold": {"seconds": 601, "reason": "look"}}
        refused = await lab.http.post(f"/v1/clusters{query}", json=longer, headers=user)
        check_problem(refused, 403, "over_bounds")
    assert (await lab.http.post("/v1/clusters", json=body, headers=user)).status_code == 202
    assert (await hold(600)).status_code == 200, "its time to live has not begun"
    await worker.make()
    async with store._database.write() as transaction:
        began = transaction.now - timedelta(seconds=300)
        await transaction.execute(update(clusters).values(ready_at=began))
    check_problem(await hold(310), 403, "over_bounds")
    assert (await hold(280)).status_code == 200
    released = await lab.http.patch("/v1/clusters/demo", json={"hold": None}, headers=user)
    assert released.status_code == 200
