"""The keys of an issuer: how often it is asked, what a rotation does, and what its failures do."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dayfly.domain.security.oidc import Issuer
from dayfly.errors import IssuerUnavailable, TokenRefused
from dayfly.oidc.issuer_documents import MAX_BYTES, MAX_KEYS, fetch_keys
from dayfly.oidc.issuer_keys import FRESH_SECONDS, PAUSE_SECONDS, RETRY_SECONDS, USABLE_SECONDS, IssuerKeys
from tests.support.clock import FakeClock
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, Responder, rsa_key, tls_for

ONE, TWO = rsa_key("one"), rsa_key("two")
DISCOVERY = "/.well-known/openid-configuration"

patient = partial(fetch_keys, seconds=60.0)
"""A busy machine may need seconds."""


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with OidcIssuer([ONE]).serving() as serving:
        yield serving


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def known(issuer: OidcIssuer) -> Issuer:
    return Issuer("ci", issuer.url, (AUDIENCE,), allow_http=True)


@pytest.fixture
def keys(issuer: OidcIssuer, clock: FakeClock) -> IssuerKeys:
    return IssuerKeys(known(issuer), clock, patient)


def fetches(issuer: OidcIssuer) -> int:
    return issuer.requests.count(DISCOVERY)


def breaks(issuer: OidcIssuer, status: int = 500) -> None:
    issuer.respond = lambda _: (status, {}, b"")


async def test_a_rotation_is_noticed_and_the_old_key_is_refused(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("one", "RS256")
    issuer.keys = [TWO]
    clock.advance(PAUSE_SECONDS)
    found = await keys.find("two", "RS256")
    assert found.key.public_numbers() == TWO.private.public_key().public_numbers()
    with pytest.raises(TokenRefused, match="does not publish"):
        await keys.find("one", "RS256")
    assert fetches(issuer) == 2


async def test_a_key_that_was_withdrawn_is_refused_once_the_keys_are_old(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("one", "RS256")
    issuer.keys = [TWO]
    clock.advance(FRESH_SECONDS)
    await keys.find("one", "RS256")
    clock.advance(1)
    with pytest.raises(TokenRefused):
        await keys.find("one", "RS256")


async def test_a_flood_of_unknown_keys_causes_few_fetches(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    for number in range(1000):
        with pytest.raises(TokenRefused):
            await keys.find(f"unknown-{number}", "RS256")
        clock.advance(0.1)
    # 100 seconds: the first fetch, and one for each pause.
    assert fetches(issuer) == 1 + 100 // PAUSE_SECONDS
    assert len(keys._made) <= 1, "what is unknown takes no memory"


async def test_callers_at_once_share_one_fetch(issuer: OidcIssuer, keys: IssuerKeys) -> None:
    issuer.slow_seconds = 0.05
    found = await asyncio.gather(*(keys.find("one", "RS256") for _ in range(50)))
    assert {id(key) for key in found} == {id(found[0])}
    assert fetches(issuer) == 1


async def test_a_caller_that_leaves_does_not_end_the_fetch_of_others(issuer: OidcIssuer, keys: IssuerKeys) -> None:
    issuer.slow_seconds = 0.05
    first, second = (asyncio.create_task(keys.find("one", "RS256")) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    assert await second is not None
    with pytest.raises(asyncio.CancelledError):
        await first
    assert fetches(issuer) == 1


async def test_an_issuer_that_is_down_is_no_fault_of_the_token(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    breaks(issuer)
    for _ in range(100):
        with pytest.raises(IssuerUnavailable) as caught:
            await keys.find("one", "RS256")
    assert fetches(issuer) == 1
    assert caught.value.message == "the keys of the issuer ci cannot be fetched"
    assert caught.value.operator_detail == f"{issuer.url}{DISCOVERY} was answered with status 500"
    issuer.respond = lambda _: None
    clock.advance(RETRY_SECONDS)
    assert await keys.find("one", "RS256") is not None


async def test_an_unknown_key_is_undecided_while_the_issuer_is_down(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("one", "RS256")
    breaks(issuer)
    clock.advance(PAUSE_SECONDS)
    with pytest.raises(IssuerUnavailable):
        await keys.find("two", "RS256")
    assert await keys.find("one", "RS256") is not None, "the known key still serves"
    issuer.respond, issuer.keys = lambda _: None, [ONE, TWO]
    clock.advance(RETRY_SECONDS)
    assert await keys.find("two", "RS256") is not None


async def test_known_keys_serve_for_a_time_while_the_issuer_is_down(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("one", "RS256")
    breaks(issuer)
    clock.advance(USABLE_SECONDS)
    assert await keys.find("one", "RS256") is not None
    clock.advance(1)
    with pytest.raises(IssuerUnavailable):
        await keys.find("one", "RS256")


async def test_tokens_do_not_wait_for_an_issuer_that_hangs(
    issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock
) -> None:
    await keys.find("one", "RS256")
    breaks(issuer)
    clock.advance(FRESH_SECONDS + 1)
    assert await keys.find("one", "RS256") is not None
    issuer.slow_seconds, issuer.respond = 2.0, lambda _: None
    clock.advance(RETRY_SECONDS)
    assert await keys.find("one", "RS256") is not None
    fetching = keys._fetching
    assert fetching is not None, "the fetch goes on beside the token"
    assert not fetching.done()
    issuer.slow_seconds, issuer.keys = 0.0, [TWO]
    await fetching
    with pytest.raises(TokenRefused):
        await keys.find("one", "RS256")


async def test_without_an_id_there_must_be_just_one_key(issuer: OidcIssuer, keys: IssuerKeys, clock: FakeClock) -> None:
    assert await keys.find(None, "RS256") is not None
    issuer.keys = [ONE, TWO]
    clock.advance(FRESH_SECONDS + 1)
    with pytest.raises(TokenRefused):
        await keys.find(None, "RS256")


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"use": "enc"},
        {"alg": "RS512"},
        {"kid": "other"},
        {"n": 5},
        {"n": "!"},
        {"n": None},
        {"e": None},
        {"d": "AQAB"},
        rsa_key("one", 1024).published,
    ],
    ids=",".join,
)
async def test_a_key_that_does_not_fit_is_not_used(
    issuer: OidcIssuer, keys: IssuerKeys, change: dict[str, object]
) -> None:
    published = {"keys": [{**ONE.published, **change}, 5, TWO.published]}
    issuer.respond = lambda path: (200, {}, json.dumps(published).encode()) if path == "/keys" else None
    with pytest.raises(TokenRefused):
        await keys.find("one", "RS256")
    assert await keys.find("two", "RS256") is not None, "another key still serves"


async def test_two_keys_with_one_id_serve_nobody(issuer: OidcIssuer, keys: IssuerKeys) -> None:
    issuer.keys = [ONE, rsa_key("one")]
    with pytest.raises(TokenRefused):
        await keys.find("one", "RS256")


def _answer(status: int = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> Responder:
    return lambda path: (status, headers or {}, body) if path == "/keys" else None


@pytest.mark.parametrize(
    ("respond", "detail"),
    [
        (_answer(404), "was answered with status 404"),
        (_answer(302, headers={"Location": DISCOVERY}), "was answered with status 302"),
        (_answer(body=b"{"), "is not JSON"),
        (_answer(body=b"[" * 5000), "is not JSON"),
        (_answer(body=b"[]"), "is no JSON object"),
        (_answer(body=b"{}"), "are no list"),
        (_answer(body=json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode()), f"no list of at most {MAX_KEYS}"),
        (_answer(body=b" " * (MAX_BYTES + 1)), f"has more than {MAX_BYTES >> 10} KiB"),
        # A small answer that would be a large one.
        (_answer(body=gzip.compress(b" " * (MAX_BYTES + 1)), headers={"Content-Encoding": "gzip"}), "is not JSON"),
        (_answer(body=b"{}", headers={"Content-Length": "100"}), "peer closed connection"),
        (_answer(headers={"Content-Length": "x"}), "ad Content-Length"),
    ],
)
async def test_an_answer_that_is_none_is_an_outage(issuer: OidcIssuer, respond: Responder, detail: str) -> None:
    issuer.respond = respond
    with pytest.raises(IssuerUnavailable) as caught:
        await patient(known(issuer))
    assert detail in caught.value.operator_detail
    assert issuer.url not in caught.value.message


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/keys", "http://10.0.0.1/keys", "file:///etc/keys", 5, None])
async def test_keys_come_by_https_or_from_this_machine(issuer: OidcIssuer, url: object) -> None:
    """What a discovery document names is not asked over plain HTTP; an address without an answer is an outage."""
    document = {"issuer": issuer.url, "jwks_uri": url}
    issuer.respond = lambda path: (200, {}, json.dumps(document).encode()) if path == DISCOVERY else None
    with pytest.raises(IssuerUnavailable) as caught:
        await patient(known(issuer))
    unusable = "has no usable jwks_uri" in caught.value.operator_detail
    assert unusable == (url != "https://127.0.0.1:1/keys")


async def test_a_discovery_document_of_another_issuer_is_refused(issuer: OidcIssuer) -> None:
    document = {"issuer": "https://elsewhere.example", "jwks_uri": f"{issuer.url}/keys"}
    issuer.respond = lambda path: (200, {}, json.dumps(document).encode()) if path == DISCOVERY else None
    with pytest.raises(IssuerUnavailable) as caught:
        await patient(known(issuer))
    assert "is of another issuer: 'https://elsewhere.example'" in caught.value.operator_detail


async def test_a_slow_issuer_is_not_waited_for(issuer: OidcIssuer) -> None:
    issuer.slow_seconds = 30.0
    with pytest.raises(IssuerUnavailable) as caught:
        await fetch_keys(known(issuer), seconds=0.2)
    assert "within 0.2 s" in caught.value.operator_detail


async def test_an_issuer_that_does_not_listen_is_an_outage(issuer: OidcIssuer) -> None:
    with pytest.raises(IssuerUnavailable):
        await patient(replace(known(issuer), url="http://127.0.0.1:1"))


async def test_a_certificate_of_another_authority_is_an_outage(tmp_path: Path) -> None:
    tls, authority = tls_for("localhost", tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, stranger = tls_for("localhost", other)
    async with OidcIssuer([ONE]).serving(tls, "localhost") as issuer:
        trusting = Issuer("ci", issuer.url, (AUDIENCE,), ca_file=authority)
        assert len(await patient(trusting)) == 1
        for wrong in (stranger, None):
            with pytest.raises(IssuerUnavailable, match="cannot be asked") as caught:
                await patient(replace(trusting, ca_file=wrong))
            assert "certificate verify failed" in caught.value.operator_detail
        for broken in (tmp_path / "none.pem", Path(__file__)):
            with pytest.raises(IssuerUnavailable) as caught:
                await patient(replace(trusting, ca_file=broken))
            assert caught.value.operator_detail.startswith(f"the certificate authorities for {issuer.url}")
