"""Tokens of a real issuer on the loopback address: which ones are accepted, and as whom."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from dayfly.api.authentication import Authentication
from dayfly.domain.security.claim_expression_parser import parse
from dayfly.domain.security.oidc import Issuer, OidcRules, Rule
from dayfly.domain.security.principal import UNBOUNDED, Bounds, Principal, Role
from dayfly.errors import NoRuleMatches, NotFound, TokenRefused, Unauthenticated
from dayfly.oidc.authenticator import MAX_CHARACTERS, TEAM_SECONDS, OidcAuthenticator
from dayfly.oidc.issuer_documents import fetch_keys
from tests.support.clock import FakeClock
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, SigningKey, elliptic_key, rsa_key, tls_for

LEEWAY = 30
patient = partial(fetch_keys, seconds=60.0)
"""A busy machine may need seconds."""
KEY, ELLIPTIC = rsa_key("one"), elliptic_key("two")
SUBJECT = "repo:org/app:ref:refs/heads/main"


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with OidcIssuer([KEY, ELLIPTIC]).serving() as serving:
        yield serving


async def every_team(_name: str) -> None:
    """Each team exists."""


def rules_for(issuer: OidcIssuer, when: str = 'repository == "org/app"', **other: Any) -> OidcRules:
    known = Issuer(
        name="ci",
        url=issuer.url,
        audiences=(AUDIENCE,),
        algorithms=("RS256", "ES256"),
        leeway_seconds=LEEWAY,
        allow_http=True,
    )
    rule = Rule("rule 1", "ci", parse(when), "app", Role.USER, Bounds(max_nodes=3))
    return OidcRules((replace(known, **other),), (rule,))


@pytest.fixture
def authenticator(issuer: OidcIssuer) -> OidcAuthenticator:
    rules = rules_for(issuer)
    return OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)


async def refusal(authenticator: OidcAuthenticator, token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        await authenticator.authenticate(token)
    return caught.value.message


@pytest.mark.parametrize("key", [KEY, ELLIPTIC], ids=lambda key: key.algorithm)
async def test_a_token_is_a_principal(issuer: OidcIssuer, authenticator: OidcAuthenticator, key: SigningKey) -> None:
    found = await authenticator.authenticate(issuer.token(key))
    assert found == Principal(f"oidc:ci:{SUBJECT}", "app", Role.USER, Bounds(max_nodes=3))


async def test_the_keys_are_fetched_once(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    for _ in range(20):
        assert await authenticator.authenticate(issuer.token()) is not None
    assert issuer.requests == ["/.well-known/openid-configuration", "/keys"]


async def test_one_of_several_audiences_is_enough(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    assert await authenticator.authenticate(issuer.token(aud=["https://elsewhere.example", AUDIENCE])) is not None


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "https://elsewhere.example"}, "it is for another audience"),
        ({"aud": AUDIENCE + "/"}, "it is for another audience"),
        ({"aud": []}, "it has no claim `aud`"),
        ({"aud": [5]}, "it is for another audience"),
        ({"aud": None}, "it has no claim `aud`"),
        ({"sub": None}, "it has no claim `sub`"),
        ({"exp": None}, "it has no claim `exp`"),
        ({"iat": None}, "it has no claim `iat`"),
        ({"exp": "never"}, "it cannot be read"),
        ({"exp": float("inf")}, "it cannot be read"),
        ({"nbf": float("nan")}, "it cannot be read"),
        ({"sub": ""}, "`sub` is not a printable text"),
        ({"sub": "a\nb"}, "`sub` is not a printable text"),
        ({"sub": "x" * 513}, "`sub` is not a printable text"),
        ({"sub": 5}, "it cannot be read"),
    ],
)
async def test_a_wrong_claim_is_refused(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, claims: Mapping[str, Any], reason: str
) -> None:
    assert reason in await refusal(authenticator, issuer.token(**claims))


@pytest.mark.parametrize("url", ["https://elsewhere.example", "http{}/", "HTTP{}", "", None, 5], ids=str)
async def test_another_issuer_is_refused(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, url: str | int | None
) -> None:
    wrong = (
        url.format(issuer.url.removeprefix("http") if url.startswith("HTTP") else issuer.url)
        if isinstance(url, str)
        else url
    )
    claims = {name: value for name, value in issuer.claims(iss=wrong).items() if value is not None}
    token = _signed(claims, {"alg": "RS256", "kid": "one"}, KEY)
    assert "its issuer is not one of this installation's" in await refusal(authenticator, token)
    assert issuer.requests == [], "an unknown issuer is never asked"


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
async def test_a_clock_may_be_off_by_the_leeway_and_no_more(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, claim: str
) -> None:
    now, ahead = int(time.time()), -1 if claim == "exp" else 1
    within: dict[str, Any] = {claim: now + ahead * (LEEWAY - 10)}
    beyond: dict[str, Any] = {claim: now + ahead * (LEEWAY + 10)}
    assert await authenticator.authenticate(issuer.token(**within)) is not None
    expected = "it has expired" if claim == "exp" else "it is not valid yet"
    assert expected in await refusal(authenticator, issuer.token(**beyond))


def _signed(claims: Mapping[str, Any], header: Mapping[str, Any], key: SigningKey) -> str:
    """A token with exactly this header, whatever PyJWT thinks of the header and the claims."""
    signer = jwt.get_algorithm_by_name(key.algorithm)
    head, body = (_base64(json.dumps(part).encode()) for part in (header, claims))
    return f"{head}.{body}.{_base64(signer.sign(f'{head}.{body}'.encode(), key.private))}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
async def test_a_token_without_a_signature_is_refused(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, name: str
) -> None:
    head, body = (_base64(json.dumps(part).encode()) for part in ({"alg": name, "kid": "one"}, issuer.claims()))
    for token in (f"{head}.{body}.", f"{head}.{body}.{_base64(b'x' * 256)}"):
        assert "signs with RS256 or ES256" in await refusal(authenticator, token)
    assert issuer.requests == []


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_secret_of_hmac(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, algorithm: str
) -> None:
    public = KEY.private.public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(KEY.published).encode(),
    ):
        hmac = jwt.get_algorithm_by_name(algorithm)
        head, body = (_base64(json.dumps(one).encode()) for one in ({"alg": algorithm, "kid": "one"}, issuer.claims()))
        token = f"{head}.{body}.{_base64(hmac.sign(f'{head}.{body}'.encode(), secret))}"
        assert "signs with RS256 or ES256" in await refusal(authenticator, token)


async def test_hmac_is_refused_even_where_a_rules_file_would_allow_it(issuer: OidcIssuer) -> None:
    rules = rules_for(issuer, algorithms=("HS256", "none", "RS256"))
    authenticator = OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)
    token = jwt.encode(issuer.claims(), "s" * 64, algorithm="HS256", headers={"kid": "one"})
    assert "signs with" in await refusal(authenticator, token)


async def test_an_algorithm_that_the_issuer_does_not_have_is_refused(issuer: OidcIssuer) -> None:
    rules = rules_for(issuer, algorithms=("ES256",))
    authenticator = OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)
    assert "signs with ES256" in await refusal(authenticator, issuer.token(KEY))
    assert await authenticator.authenticate(issuer.token(ELLIPTIC)) is not None


async def test_a_key_serves_its_own_algorithm_alone(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    """The header's algorithm does not choose how a published key is used."""
    crossed = _signed(issuer.claims(), {"alg": "ES256", "kid": "one"}, ELLIPTIC)
    assert "does not publish" in await refusal(authenticator, crossed)


async def test_another_key_with_the_same_id_is_refused(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    assert "its signature does not fit" in await refusal(authenticator, issuer.token(rsa_key("one")))


async def test_a_changed_claim_is_refused(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    head, _, signature = issuer.token().split(".")
    forged = _base64(json.dumps(issuer.claims(repository="org/app", ref="refs/heads/other")).encode())
    assert "its signature does not fit" in await refusal(authenticator, f"{head}.{forged}.{signature}")


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c"])
async def test_headers_that_name_keys_have_no_effect(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, header: str
) -> None:
    stranger = rsa_key("three")
    async with OidcIssuer([stranger]).serving() as elsewhere:
        value = {"jwk": stranger.published, "x5c": ["MIIB"]}.get(header, f"{elsewhere.url}/keys")
        token = _signed(issuer.claims(), {"alg": "RS256", "kid": "three", header: value}, stranger)
        assert "does not publish" in await refusal(authenticator, token)
        own = _signed(issuer.claims(), {"alg": "RS256", "kid": "one", header: value}, KEY)
        assert await authenticator.authenticate(own) is not None
        assert elsewhere.requests == []


@pytest.mark.parametrize("header", [{"crit": ["b64"], "b64": False}, {"crit": ["exp"]}, {"b64": False}, {"kid": 5}])
async def test_headers_that_change_the_meaning_of_a_token_are_refused(
    issuer: OidcIssuer, authenticator: OidcAuthenticator, header: Mapping[str, Any]
) -> None:
    token = _signed(issuer.claims(), {"alg": "RS256", "kid": "one", **header}, KEY)
    assert "the token is not valid" in await refusal(authenticator, token)


@pytest.mark.parametrize(
    "other", ["dfly_0f3a_secret", "", "garbage", "a.b", "a.b.c.d.e", "a b.c.d", "\N{SNOWMAN}.a.b", "a.b.c\n"]
)
async def test_what_is_no_jwt_is_left_to_others(authenticator: OidcAuthenticator, other: str) -> None:
    assert await authenticator.authenticate(other) is None


def _garbage() -> Iterator[str]:
    head = _base64(b'{"alg": "RS256", "kid": "one"}')
    yield "a.b.c"
    yield f"{head}.."
    for body in (b"[]", b"{", b"5", b"[" * 5000, b'{"iss": ' + b"9" * 5000 + b"}"):
        yield f"{head}.{_base64(body)}.{_base64(b'x')}"
    yield f"{_base64(b'[' * 5000)}.{_base64(b'{}')}.{_base64(b'x')}"


@pytest.mark.parametrize("token", list(_garbage()))
async def test_garbage_is_refused(authenticator: OidcAuthenticator, token: str) -> None:
    assert "the token is not valid" in await refusal(authenticator, token)


@given(st.text("eyJhbGci.OiJSUzI1NiJ9_-=", min_size=3, max_size=80))
def test_any_text_is_another_kind_of_token_or_refused(text: str) -> None:
    running = OidcAuthenticator(OidcRules, every_team, FakeClock()).authenticate(text)
    with pytest.raises((StopIteration, TokenRefused)) as caught:
        running.send(None)
    assert getattr(caught.value, "value", None) is None


async def test_a_huge_token_is_refused_before_it_is_read(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    token = issuer.token(filler="x" * MAX_CHARACTERS)
    assert f"more than {MAX_CHARACTERS} characters" in await refusal(authenticator, token)
    assert issuer.requests == []


async def test_no_rule_names_the_issuer_and_the_claims_without_values(issuer: OidcIssuer) -> None:
    rules = rules_for(issuer, 'repository == "org/other" || environment == "lab"')
    authenticator = OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)
    claims: dict[str, Any] = {"secret": "s3cret", "a\nb": 1}
    with pytest.raises(NoRuleMatches) as caught:
        await authenticator.authenticate(issuer.token(**claims))
    assert caught.value.message == (
        "no rule for the issuer ci matches the token, which has these claims: "
        "aud, exp, iat, iss, nbf, ref, repository, secret, sub"
    )


async def test_the_first_rule_that_matches_decides_and_rules_of_other_issuers_do_not_count(issuer: OidcIssuer) -> None:
    (known,) = rules_for(issuer).issuers
    other = replace(known, name="other", url="https://elsewhere.example")
    made = [
        Rule("rule 1", "other", parse("true"), "stolen", Role.OPERATOR, UNBOUNDED),
        Rule("rule 2", "ci", parse('ref == "refs/heads/dev"'), "dev", Role.ADMIN, UNBOUNDED),
        Rule("rule 3", "ci", parse('ref matches "refs/heads/*"'), "app", Role.USER, UNBOUNDED),
        Rule("rule 4", "ci", parse("true"), "rest", Role.VIEWER, UNBOUNDED),
    ]
    rules = OidcRules((other, known), tuple(made))
    authenticator = OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)
    teams = [
        found.team
        for ref in ("refs/heads/main", "refs/heads/dev", "refs/tags/v1")
        if (found := await authenticator.authenticate(issuer.token(ref=ref)))
    ]
    assert teams == ["app", "dev", "rest"]


async def test_a_team_must_exist_and_is_looked_up_every_few_seconds(issuer: OidcIssuer) -> None:
    rules, clock, asked = rules_for(issuer), FakeClock(), []
    deleted = False

    async def find(name: str) -> None:
        asked.append(name)
        if deleted:
            raise NotFound(f"no team {name}")

    authenticator = OidcAuthenticator(lambda: rules, find, clock, patient)
    for _ in range(3):
        assert await authenticator.authenticate(issuer.token()) is not None
    assert asked == ["app"]
    deleted = True
    clock.advance(TEAM_SECONDS)
    for _ in range(2):
        with pytest.raises(NoRuleMatches, match="rule 1 matches the token, but its team app does not exist"):
            await authenticator.authenticate(issuer.token())
    deleted = False
    assert await authenticator.authenticate(issuer.token()) is not None


async def test_changed_rules_hold_for_the_next_token(issuer: OidcIssuer) -> None:
    rules = rules_for(issuer)
    authenticator = OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)
    token = issuer.token()
    assert await authenticator.authenticate(token) is not None
    rules = OidcRules(rules.issuers, ())
    with pytest.raises(NoRuleMatches):
        await authenticator.authenticate(token)
    rules = OidcRules()
    assert "its issuer is not one" in await refusal(authenticator, token)
    assert len(issuer.requests) == 2


async def test_the_api_asks_it_for_bearer_tokens(issuer: OidcIssuer, authenticator: OidcAuthenticator) -> None:
    authentication = Authentication(authenticators=(authenticator,))
    scope: dict[str, Any] = {"type": "http", "headers": [(b"authorization", f"Bearer {issuer.token()}".encode())]}
    await authentication.identify(scope)
    assert scope["state"]["principal"].name == f"oidc:ci:{SUBJECT}"
    expired = issuer.token(exp=1)
    for bearer, code in ((expired, "token_refused"), ("garbage", "unauthenticated")):
        scope = {"type": "http", "headers": [(b"authorization", f"Bearer {bearer}".encode())]}
        with pytest.raises(Unauthenticated) as caught:
            await authentication.identify(scope)
        assert caught.value.code == code


async def test_an_issuer_is_known_by_its_certificate(tmp_path: Path) -> None:
    tls, authority = tls_for("localhost", tmp_path)
    async with OidcIssuer([KEY]).serving(tls, "localhost") as issuer:
        rules = rules_for(issuer, ca_file=authority, allow_http=False)
        authenticator = OidcAuthenticator(lambda: rules, every_team, FakeClock(), patient)
        assert await authenticator.authenticate(issuer.token()) is not None
