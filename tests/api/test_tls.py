"""The real server with TLS, by real handshakes. Not here: its files (tests/unit/test_tls.py)."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from functools import partial
from pathlib import Path

import httpx
import pytest

from dayfly.api.server import unix_socket
from dayfly.store import Store
from dayfly.tls.server_tls import ServerTls
from tests.support.api import Infrastructure
from tests.support.tls import PATIENCE, Issuer, listening_with_tls, tls_of, until

HALF_OPEN = 100


def trusting(*files: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for file in files:
        context.load_verify_locations(file)
    return context


async def serial_of(host: str, port: int, context: ssl.SSLContext) -> str:
    """The serial number of the certificate that a new connection gets."""
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="localhost")
    found = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return str(found)


async def test_a_renewed_certificate_is_for_new_connections_and_no_request_fails(
    store: Store, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    issuer = Issuer.new()
    file = issuer.write(tmp_path / "server.pem")
    context = trusting(issuer.write_ca(tmp_path / "ca.pem"))
    tls = tls_of(file)
    async with listening_with_tls(infrastructure.services(store), tls) as (_, host, port):
        url, done, answers = f"https://localhost:{port}", asyncio.Event(), 0

        async def ask(*, anew: bool) -> None:
            nonlocal answers
            limits = httpx.Limits(max_keepalive_connections=0 if anew else 10)
            async with httpx.AsyncClient(verify=context, timeout=PATIENCE, limits=limits) as http:
                while not done.is_set():
                    assert (await http.get(f"{url}/healthz")).status_code == 200
                    answers += 1

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(ask(anew=number % 2 == 0))
            serials = [await serial_of(host, port, context)]
            for _ in range(3):
                before = tls.context
                issuer.write(file)
                await until(partial(_is_renewed, tls, before))
                serials.append(await serial_of(host, port, context))
                wanted = answers + 12
                await until(partial(lambda wanted: answers >= wanted, wanted))
            done.set()
    assert len(set(serials)) == 4


def _is_renewed(tls: ServerTls, before: ssl.SSLContext) -> bool:
    return tls.context is not before


async def test_a_unix_socket_has_no_tls(store: Store, infrastructure: Infrastructure, tmp_path: Path) -> None:
    tls, path = tls_of(Issuer.new().write(tmp_path / "server.pem")), tmp_path / "api.sock"
    with unix_socket(path) as local:
        async with (
            listening_with_tls(infrastructure.services(store), tls, local),
            httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as http,
        ):
            assert (await http.get("http://localhost/healthz")).status_code == 200


async def test_an_open_connection_outlives_the_renewal(
    store: Store, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    issuer = Issuer.new()
    file = issuer.write(tmp_path / "server.pem")
    context = trusting(issuer.write_ca(tmp_path / "ca.pem"))
    tls = tls_of(file)
    async with listening_with_tls(infrastructure.services(store), tls) as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="localhost")
        issuer.write(file)
        await tls.look()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_silent_handshakes_lock_nobody_out_and_end(
    store: Store, infrastructure: Infrastructure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer.new()
    tls = tls_of(issuer.write(tmp_path / "server.pem"))
    context = trusting(issuer.write_ca(tmp_path / "ca.pem"))
    services = infrastructure.services(store, {"max_connections": 20, "header_timeout_seconds": 1})
    async with listening_with_tls(services, tls) as (server, host, port):
        silent = [await asyncio.open_connection(host, port) for _ in range(HALF_OPEN)]
        async with httpx.AsyncClient(verify=context, timeout=PATIENCE) as http:
            answer = await http.get(f"https://localhost:{port}/healthz")
        assert answer.status_code == 200
        assert len(server.server_state.connections) <= 20
        for reader, writer in silent:
            assert await reader.read() == b"", "closed by the server"
            writer.close()
        await until(lambda: not server.server_state.connections)
    assert caplog.text == ""


async def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(
    store: Store, infrastructure: Infrastructure, tmp_path: Path
) -> None:
    issuer = Issuer.new()
    tls = tls_of(issuer.write(tmp_path / "server.pem"))
    context = trusting(issuer.write_ca(tmp_path / "ca.pem"))
    async with listening_with_tls(infrastructure.services(store), tls) as (_, host, port):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        caller = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection(host, port)
        with pytest.raises(ssl.SSLWantReadError):
            caller.do_handshake()
        writer.write(outgoing.read())
        while True:
            incoming.write(await reader.read(65536))
            try:
                caller.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        caller.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        writer.write(outgoing.read())  # one segment: the end of the handshake, and the request
        incoming.write(await reader.read())
        assert b"HTTP/1.1 200 " in caller.read()
        writer.close()


async def test_plain_http_and_old_tls_are_refused_and_others_still_served(
    store: Store, infrastructure: Infrastructure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer.new()
    tls = tls_of(issuer.write(tmp_path / "server.pem"))
    context = trusting(issuer.write_ca(tmp_path / "ca.pem"))
    old = trusting(tmp_path / "ca.pem")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with listening_with_tls(infrastructure.services(store), tls) as (server, host, port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, port, ssl=old, server_hostname="localhost")
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://localhost:{port}/healthz")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            await serial_of(host, port, context)
        await until(lambda: not server.server_state.connections)
    assert caplog.text == ""


async def test_a_held_response_ends_at_the_stop(store: Store, infrastructure: Infrastructure, tmp_path: Path) -> None:
    issuer = Issuer.new()
    tls = tls_of(issuer.write(tmp_path / "server.pem"))
    context = trusting(issuer.write_ca(tmp_path / "ca.pem"))
    services = infrastructure.services(store)
    async with httpx.AsyncClient(verify=context, timeout=PATIENCE) as http:
        async with listening_with_tls(services, tls) as (_, _, port):
            url = f"https://localhost:{port}/v1/clusters"
            made = (await http.post(url, json={"image": "bare"})).json()
            held = asyncio.create_task(http.get(f"{url}/{made['id']}", params={"wait": "ready", "timeout": 60}))
            await services.held.next()  # type: ignore[attr-defined] # announced to tests
        assert (await held).status_code == 200
