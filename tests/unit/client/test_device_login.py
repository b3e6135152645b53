"""The device flow: what the person sees, how the issuer is polled, and how a login ends."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dayfly.client import InvalidArgument, LoginFailed, LoginIssuer
from dayfly.client.device_login import GRANT, DeviceCode, IssuedTokens, log_in_by_device
from tests.support.device_issuer import PENDING, TOKENS, URL, DeviceIssuer, refused

ISSUER = LoginIssuer(name="lab", url=URL, client_id="dayfly", scopes=("openid", "groups"))


def log_in(played: DeviceIssuer, issuer: LoginIssuer = ISSUER) -> tuple[IssuedTokens, list[DeviceCode]]:
    shown: list[DeviceCode] = []
    tokens = log_in_by_device(
        issuer, shown.append, transport=played.transport, pause=played.pause, now=lambda: played.now
    )
    return tokens, shown


def failure(played: DeviceIssuer, issuer: LoginIssuer = ISSUER) -> LoginFailed:
    with pytest.raises(LoginFailed) as caught:
        log_in(played, issuer)
    return caught.value


def test_a_person_logs_in() -> None:
    played = DeviceIssuer([PENDING, PENDING, TOKENS])
    tokens, shown = log_in(played)
    assert tokens.bearer == "head.body.signature"
    assert shown == [DeviceCode(f"{URL}/device", "WDJB-MJHT", f"{URL}/device?code=WDJB-MJHT", 600.0)]
    poll = {"grant_type": GRANT, "device_code": "d3vice", "client_id": "dayfly"}
    assert played.forms == [
        ("/device_authorization", {"client_id": "dayfly", "scope": "openid groups"}),
        *[("/token", poll)] * 3,
    ]
    assert played.pauses == [5.0, 5.0, 5.0]


def test_without_an_id_token_the_access_token_is_used() -> None:
    tokens, _ = log_in(DeviceIssuer([(200, {"access_token": "opaque"})]))
    assert tokens.bearer == "opaque"
    assert "opaque" not in repr(tokens)


def test_the_issuer_says_how_often_it_is_polled() -> None:
    played = DeviceIssuer([PENDING, refused("slow_down"), refused("slow_down"), TOKENS])
    played.code["interval"] = 2
    log_in(played)
    assert played.pauses == [2.0, 2.0, 7.0, 12.0]


@pytest.mark.parametrize("hiccup", [httpx.ReadTimeout("slow"), (503, {}), (502, "a proxy's page"), (429, {})])
def test_a_hiccup_ends_no_login_and_is_no_reason_to_ask_more_often(hiccup: Any) -> None:
    played = DeviceIssuer([hiccup, hiccup, PENDING, TOKENS])
    log_in(played)
    assert played.pauses == [5.0, 10.0, 20.0, 20.0]


@pytest.mark.parametrize(
    ("polled", "code", "message"),
    [
        (refused("access_denied"), "login_denied", "the login was denied"),
        (refused("expired_token"), "login_expired", "nobody logged in before the code expired"),
        (refused("invalid_client", error_description="no such client"), "login_unavailable", "no such client"),
        ((302, {}), "login_unavailable", "it answered with status 302"),
        ((200, {}), "login_unavailable", "its answer has no token"),
        ((200, {"access_token": "a", "id_token": 5}), "login_unavailable", "its answer has no token"),
        ((400, []), "login_unavailable", "it answered with status 400"),
    ],
)
def test_a_login_that_fails(polled: Any, code: str, message: str) -> None:
    error = failure(DeviceIssuer([PENDING, polled]))
    assert error.code == code
    assert message in str(error)


def test_a_code_that_expires_ends_the_login() -> None:
    played = DeviceIssuer([PENDING])
    played.code["expires_in"] = 12
    assert failure(played).code == "login_expired"
    assert played.pauses == [5.0, 5.0, 2.0]


def test_an_issuer_cannot_make_a_login_wait_for_ever() -> None:
    played = DeviceIssuer([PENDING])
    played.code |= {"expires_in": 10**9, "interval": 10**9}
    assert failure(played).code == "login_expired"
    assert played.now == 3600.0
    assert max(played.pauses) == 60.0


def test_an_interval_of_nothing_is_a_second() -> None:
    played = DeviceIssuer([PENDING, TOKENS])
    played.code["interval"] = 0
    log_in(played)
    assert played.pauses == [1.0, 1.0]


def test_ctrl_c_cancels() -> None:
    played = DeviceIssuer([PENDING])

    def pause(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        log_in_by_device(ISSUER, lambda _: None, transport=played.transport, pause=pause)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issuer": "https://elsewhere.example"}, "or is of another"),
        ({"device_authorization_endpoint": None}, "no usable device_authorization_endpoint"),
        ({"token_endpoint": "http://issuer.example/token"}, "no usable token_endpoint"),
        ({"token_endpoint": "http://127.0.0.1/token"}, "no usable token_endpoint"),
    ],
)
def test_a_discovery_document_that_does_not_serve(changes: dict[str, Any], message: str) -> None:
    played = DeviceIssuer()
    played.discovery |= changes
    error = failure(played)
    assert (error.code, message in str(error)) == ("login_unavailable", True)
    assert played.forms == [], "nothing was sent"


@pytest.mark.parametrize("name", ["device_code", "user_code", "verification_uri"])
def test_a_code_without_a_part_is_no_code(name: str) -> None:
    played = DeviceIssuer()
    del played.code[name]
    assert failure(played).code == "login_unavailable"


def test_an_answer_that_is_too_large_is_none() -> None:
    played = DeviceIssuer()
    played.answers["/.well-known/openid-configuration"] = httpx.Response(200, stream=httpx.ByteStream(b" " * (1 << 20)))
    assert "has more than 512 KiB" in str(failure(played))


def test_redirects_are_not_followed() -> None:
    played = DeviceIssuer()
    away = httpx.Response(302, headers={"Location": "https://elsewhere.example"}, stream=httpx.ByteStream(b""))
    played.answers["/device_authorization"] = away
    assert "it answered with status 302" in str(failure(played))
    assert played.forms == []


def test_an_issuer_that_is_not_there() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(LoginFailed, match="the issuer lab does not answer: refused") as caught:
        log_in_by_device(ISSUER, lambda _: None, transport=httpx.MockTransport(answer))
    assert caught.value.code == "login_unavailable"


@pytest.mark.parametrize(
    "url", ["http://issuer.example", "ftp://issuer.example", "issuer", "https://user:pass@issuer.example"]
)
def test_an_issuer_that_others_could_impersonate_is_not_asked(url: str) -> None:
    played = DeviceIssuer()
    with pytest.raises(InvalidArgument, match="no https:// URL"):
        log_in(played, ISSUER.model_copy(update={"url": url}))
    assert played.forms == []
