"""Which token a client sends to which server."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest

from dayfly.client import Client, InvalidArgument
from dayfly.client.credentials import credentials_file, forget_server, store_token, stored_authority, stored_token

LAB = httpx.URL("https://lab.example")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("DAYFLY_TOKEN", "DAYFLY_URL", "DAYFLY_TOKEN_OVER_HTTP"):
        monkeypatch.delenv(name, raising=False)


def sent(url: str, token: str | None = None, *, token_over_http: bool | None = None) -> str | None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"version": "1", "api": ["v1"]})

    transport = httpx.MockTransport(answer)
    with Client(url, token=token, transport=transport, token_over_http=token_over_http) as client:
        client.version()
    found: str | None = seen[0].headers.get("authorization")
    return found


def test_a_stored_token_goes_to_its_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    store_token(LAB, "stored")
    store_token(httpx.URL("http://127.0.0.1:8700"), "local")
    assert stat.S_IMODE(credentials_file().stat().st_mode) == 0o600
    assert sent("https://lab.example/dayfly/") == "Bearer stored"
    assert sent("https://lab.example:443") == "Bearer stored"
    for other in ("https://lab.example:8443", "https://other.example", "http://127.0.0.1:8701"):
        assert sent(other) is None
    assert sent("http://127.0.0.1:8700") == "Bearer local"
    monkeypatch.setenv("DAYFLY_TOKEN", "environment")
    assert sent("https://lab.example") == "Bearer environment"
    assert sent("https://lab.example", "given") == "Bearer given"
    forget_server(LAB)
    assert stored_token(LAB) is None
    assert stored_token(httpx.URL("http://127.0.0.1:8700")) == "local"


def test_another_token_keeps_the_pinned_authority() -> None:
    """Without it, the machine's authorities would count again from the second login on."""
    store_token(LAB, "first", "PEM")
    store_token(LAB, "second")
    assert (stored_token(LAB), stored_authority(LAB)) == ("second", "PEM")
    store_token(LAB, "third", "another PEM")
    assert stored_authority(LAB) == "another PEM"
    forget_server(LAB)
    assert stored_authority(LAB) is None


def test_a_token_is_not_sent_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    store_token(httpx.URL("http://lab.example"), "stored")
    with pytest.raises(InvalidArgument, match="use https"):
        Client("http://lab.example")
    with pytest.raises(InvalidArgument, match="use https"):
        Client("http://10.0.0.1:8700", token="given")
    assert sent("http://lab.example", token_over_http=True) == "Bearer stored"
    monkeypatch.setenv("DAYFLY_TOKEN_OVER_HTTP", "allow")
    assert sent("http://lab.example") == "Bearer stored"
    with pytest.raises(InvalidArgument, match="use https"):
        Client("http://lab.example", token_over_http=False)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tokens": []}', '{"tokens": {"a": 1}}'])
def test_a_file_that_is_none_of_ours(content: str) -> None:
    store_token(LAB, "stored")
    credentials_file().write_text(content)
    with pytest.raises(InvalidArgument, match=r"credentials\.json"):
        Client("https://lab.example")


def test_a_file_that_others_can_read() -> None:
    store_token(LAB, "stored").chmod(0o640)
    with pytest.raises(InvalidArgument, match="chmod 600"):
        Client("https://lab.example")
