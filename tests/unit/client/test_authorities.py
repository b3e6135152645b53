"""What the client trusts, by real handshakes: a file, a pinned authority, and nothing that only looks like these."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.main import app
from dayfly.client import AsyncClient, Client, InvalidArgument, Unreachable, Untrusted
from dayfly.client.authorities import fetch_pinned_ca
from dayfly.client.credentials import credentials_file, forget_server, store_token
from dayfly.domain.security.server_authority import VALID_FOR, fingerprint
from tests.support.service import free_port
from tests.support.tls import Issuer

OTHER = f"sha256:{'0' * 64}"


@dataclass
class Served:
    url: str
    issuer: Issuer
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """The path and the Authorization header of each request."""

    @property
    def pin(self) -> str:
        return fingerprint(self.issuer.authority.certificate)

    def forget(self) -> None:
        self.requests.clear()


@contextmanager
def serving(folder: Path, *names: str, age: timedelta = timedelta(), with_authority: bool = True) -> Iterator[Served]:
    """A server that answers as Dayfly would, with a certificate for `names` that was issued `age` ago."""
    issuer = Issuer.new()
    file = issuer.write(folder / "server.pem", *names, age=age)
    if not with_authority:
        file.write_text(file.read_text().removesuffix(issuer.authority.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    requests: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append((self.path, self.headers.get("Authorization")))
            body = b'{"version": "0.3.0", "api": ["v1"]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the base class's name

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that does not trust the certificate leaves in the handshake."""

        def finish_request(self, request: Any, client_address: Any) -> None:
            with context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Served(f"https://localhost:{server.server_port}", issuer, requests)
        server.shutdown()
        thread.join(10)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path) as found:
        yield found


def test_the_authority_is_fetched_by_its_fingerprint(served: Served) -> None:
    pem = fetch_pinned_ca(served.url, served.pin)
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == served.pin.removeprefix("sha256:")
    digits = served.pin.removeprefix("sha256:").upper()
    as_openssl = ":".join(digits[at : at + 2] for at in range(0, 64, 2))
    assert fetch_pinned_ca(served.url, as_openssl) == pem
    assert fetch_pinned_ca(f"{served.url.replace('https://', 'https://user:secret@')}/", f" {digits} ") == pem
    assert set(served.requests) == {("/healthz", None)}


def test_another_fingerprint_is_refused_and_the_offered_ones_are_named(served: Served) -> None:
    with pytest.raises(Untrusted, match=f"has the fingerprint {OTHER}, but sha256:.*{served.pin}$"):
        fetch_pinned_ca(served.url, OTHER)


def test_a_server_without_a_chain_cannot_be_pinned_by_its_authority(tmp_path: Path) -> None:
    with serving(tmp_path, with_authority=False) as served, pytest.raises(Untrusted):
        fetch_pinned_ca(served.url, served.pin)


def test_what_is_no_fingerprint_and_what_is_no_server(served: Served) -> None:
    for wrong in ("", "sha256:", "abc", f"{OTHER}0", f"sha1:{'0' * 40}", "z" * 64):
        with pytest.raises(InvalidArgument, match="is no SHA-256 fingerprint"):
            fetch_pinned_ca(served.url, wrong)
    with pytest.raises(Unreachable):
        fetch_pinned_ca(f"https://localhost:{free_port()}", OTHER)


def test_a_pinned_client_trusts_that_authority_alone(served: Served) -> None:
    with Client(served.url, token="dfly_secret", ca_fingerprint=served.pin) as client:
        assert (client.version().version, client.version().api) == ("0.3.0", ("v1",))
    assert [path for path, _ in served.requests] == ["/healthz", "/v1/version", "/v1/version"], "fetched once"
    served.forget()
    with Client(served.url, token="dfly_secret", ca_fingerprint=OTHER) as client, pytest.raises(Untrusted):
        client.version()
    assert served.requests == [("/healthz", None)], "no token was sent"


async def test_the_asynchronous_client_does_the_same(served: Served) -> None:
    async with AsyncClient(served.url, ca_fingerprint=served.pin) as client:
        assert [one.version for one in await asyncio.gather(*(client.version() for _ in range(3)))] == ["0.3.0"] * 3
    async with AsyncClient(served.url, ca_fingerprint=OTHER) as client:
        with pytest.raises(Untrusted):
            await client.version()


def test_a_file_of_authorities_is_trusted_and_the_environment_names_either(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = served.issuer.write_ca(tmp_path / "ca.pem")
    with Client(served.url, ca_file=file) as client:
        assert client.version().version == "0.3.0"
    for name, value in (("DAYFLY_CA_FILE", str(file)), ("DAYFLY_CA_FINGERPRINT", served.pin)):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with Client(served.url) as client:
                assert client.version().version == "0.3.0"
    with Client(served.url, ca_file=Issuer.new().write_ca(tmp_path / "other.pem")) as client:
        served.forget()
        with pytest.raises(Untrusted, match="self-signed certificate in certificate chain"):
            client.version()
        assert not served.requests


def test_nothing_is_trusted_at_first_use(served: Served) -> None:
    with Client(served.url, token="dfly_secret") as client, pytest.raises(Untrusted, match="is not trusted: "):
        client.create("demo", image="bare")
    assert not served.requests


@pytest.mark.parametrize(
    ("names", "age", "why"),
    [
        (("lab.example",), timedelta(), "Hostname mismatch"),
        (("localhost",), VALID_FOR + timedelta(days=1), "certificate has expired"),
        (("localhost",), timedelta(days=-2), "certificate is not yet valid"),
    ],
)
def test_a_pin_excuses_no_other_fault(tmp_path: Path, names: tuple[str, ...], age: timedelta, why: str) -> None:
    with (
        serving(tmp_path, *names, age=age) as served,
        Client(served.url, token="dfly_secret", ca_fingerprint=served.pin) as client,
        pytest.raises(Untrusted, match=why),
    ):
        client.version()
    assert served.requests == [("/healthz", None)]


def test_settings_that_cannot_be_used_send_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    for file, why in ((tmp_path / "none.pem", "no file of certificates"), (tmp_path / "x", "No such file")):
        with pytest.raises(InvalidArgument, match=why):
            Client("https://localhost:1", ca_file=file)
    with pytest.raises(InvalidArgument, match="is no https:// URL"):
        Client("http://127.0.0.1:1", ca_fingerprint=OTHER)
    with pytest.raises(InvalidArgument, match="two ways"):
        Client("https://localhost:1", ca_fingerprint=OTHER, ca_file=tmp_path / "none.pem")
    monkeypatch.setenv("DAYFLY_CA_FILE", str(tmp_path / "x"))
    with pytest.raises(InvalidArgument, match=r"DAYFLY_CA_FILE\) cannot be read"):
        Client("https://localhost:1")


def test_a_server_that_answers_without_tls_is_unreachable() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://localhost:{server.server_port}"
        with Client(url, ca_fingerprint=OTHER) as client, pytest.raises(Unreachable):
            client.version()
        server.shutdown()


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.usefixtures("configured")
def test_a_stored_authority_is_trusted_for_its_server_alone(served: Served, tmp_path: Path) -> None:
    store_token(httpx.URL(served.url), "dfly_secret", fetch_pinned_ca(served.url, served.pin))
    served.forget()
    with Client(served.url) as client:
        assert client.version().version == "0.3.0"
    assert {header for _, header in served.requests} == {"Bearer dfly_secret"}
    with serving(tmp_path) as other, Client(other.url) as client, pytest.raises(Untrusted):
        client.version()
    forget_server(httpx.URL(served.url))
    with Client(served.url) as client, pytest.raises(Untrusted):
        client.version()


@pytest.mark.usefixtures("configured")
def test_a_stored_authority_that_is_none_is_a_clear_error(served: Served) -> None:
    store_token(httpx.URL(served.url), "dfly_secret", "no certificate")
    with pytest.raises(InvalidArgument, match="log in again"):
        Client(served.url)


@pytest.mark.usefixtures("configured")
def test_login_asks_for_no_token_before_the_server_is_trusted(served: Served) -> None:
    refused = CliRunner().invoke(app, ["login", served.url, "--ca-fingerprint", OTHER], input="dfly_secret\n")
    assert refused.exit_code == ExitCode.UNREACHABLE
    assert served.requests == [("/healthz", None)]
    assert not credentials_file().exists()
