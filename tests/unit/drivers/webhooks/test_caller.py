"""Calls of a real receiver on 127.0.0.1: signed, bounded, never redirected, and only at allowed addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpcore
import pytest

from dayfly.domain.security.webhook_addresses import networks
from dayfly.drivers.interfaces.webhooks import WebhookCall
from dayfly.drivers.webhooks import network
from dayfly.drivers.webhooks.caller import ANSWER_BYTES, HttpCaller, trusted
from dayfly.errors import (
    WebhookAddressForbidden,
    WebhookNotHttp,
    WebhookTimeout,
    WebhookTlsFailed,
    WebhookUnreachable,
)
from tests.support.certificates import signed_for
from tests.support.receiver import LOOPBACK, answer, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = datetime(2026, 1, 1, tzinfo=UTC)
ALLOWED = networks(LOOPBACK)


def call(url: str) -> WebhookCall:
    return WebhookCall(url, "msg_1", AT, '{"type":"test"}', secret=SECRET)


def caller(seconds: float = 10.0, **options: object) -> HttpCaller:
    return HttpCaller(ALLOWED, seconds, **options)  # type: ignore[arg-type]


class Names:
    """A resolver that answers with the next addresses at each look-up."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0)


async def test_a_call_is_signed_by_standard_webhooks() -> None:
    async with receiving(answer=answer(200, b"thanks")) as receiver:
        got = await caller().call(call(receiver.url))
    assert (got.status, got.beginning) == (200, b"thanks")
    [received] = receiver.calls
    assert received.target == "/hook?a=b"
    assert received.body == b'{"type":"test"}'
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["content-type"] == "application/json"
    assert (received.headers["webhook-id"], received.headers["webhook-timestamp"]) == ("msg_1", "1767225600")
    assert received.is_signed_with(SECRET)
    assert not received.is_signed_with("whsec_" + "A" * 32)
    assert SECRET.removeprefix("whsec_") not in str(received)


async def test_the_secret_is_in_no_representation() -> None:
    assert SECRET not in repr(call("http://ci.example"))


async def test_a_redirect_is_an_answer() -> None:
    async with receiving() as other, receiving() as receiver:
        receiver.answer = answer(307, location=other.url)
        assert (await caller().call(call(receiver.url))).status == 307
        assert other.calls == []


async def test_of_a_huge_answer_the_beginning_is_read() -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 1000000000000\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 65536)
            await writer.drain()

    async with receiving(write=write) as receiver:
        got = await caller().call(call(receiver.url))
        assert (got.status, got.beginning) == (500, b"x" * ANSWER_BYTES)


async def test_headers_without_end_are_no_answer() -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            writer.write(b"x-%d: %s\r\n" % (number, b"y" * 1000))
            await writer.drain()

    async with receiving(write=write) as receiver:
        with pytest.raises(WebhookNotHttp):
            await caller().call(call(receiver.url))


@pytest.mark.parametrize(
    "bytes_", [b"", b"\0\1\2", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"]
)
async def test_what_is_not_http(bytes_: bytes) -> None:
    async with receiving(answer=bytes_) as receiver:
        with pytest.raises(WebhookNotHttp):
            await caller().call(call(receiver.url))


async def test_a_receiver_that_does_not_answer() -> None:
    async with receiving(gate=asyncio.Event()) as receiver:
        with pytest.raises(WebhookTimeout, match=r"127\.0\.0\.1 did not answer within 0\.3 s"):
            await caller(0.3).call(call(receiver.url))


async def test_the_status_of_a_receiver_counts_that_answers_byte_by_byte_and_it_has_no_more_time() -> None:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with receiving(write=write) as receiver:
        async with asyncio.timeout(5):
            got = await caller(0.5).call(call(receiver.url))
    assert got.status == 200
    assert 0 < len(got.beginning) < 1000


@pytest.mark.parametrize("target", ["/", "/?", "/a;b", "/a;b/c;d?e;f=g;h", "/?a=/b?c", "?a=b", "", "//x/y"])
async def test_a_url_is_called_as_it_is(target: str) -> None:
    async with receiving() as receiver:
        await caller().call(call(f"http://127.0.0.1:{receiver.port}{target}"))
        path, _, query = target.partition("?")
        assert receiver.calls[0].target == (path or "/") + (f"?{query}" if query else "")


async def test_nothing_listens() -> None:
    async with receiving() as receiver:
        port = receiver.port
    with pytest.raises(WebhookUnreachable, match=r"^no connection to 127\.0\.0\.1$"):
        await caller().call(call(f"http://127.0.0.1:{port}/"))


async def test_a_name_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    with pytest.raises(WebhookUnreachable, match=r"^ci\.example has no address$"):
        await caller(resolve=resolve).call(call("http://ci.example/"))


async def test_the_machines_own_resolver() -> None:
    assert set(await network.resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
    assert await network.resolve("127.1", 80) == ["127.0.0.1"], "as C libraries read it"
    with pytest.raises(OSError, match="x"):
        await network.resolve("x" * 70 + ".example", 80)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/",
        "http://[::ffff:127.0.0.1]:{}/",
        "http://localhost:{}/",
        "http://127.1:{}/",
        "http://2130706433:{}/",
    ],
)
async def test_without_the_setting_no_notation_of_loopback_is_called(url: str) -> None:
    async with receiving() as receiver:
        with pytest.raises(WebhookAddressForbidden, match="DAYFLY_WEBHOOK_NETWORKS"):
            await HttpCaller().call(call(url.format(receiver.port)))
        assert receiver.calls == []


async def test_the_address_that_was_checked_is_the_one_that_is_called() -> None:
    """DNS rebinding: the second look-up of the name would say loopback."""
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    async with receiving() as receiver:
        rebinding = HttpCaller(seconds=0.5, resolve=names)
        connected: list[str] = []
        with pytest.MonkeyPatch.context() as patched:

            async def connect(self: object, host: str, *arguments: object) -> None:
                connected.append(host)
                raise httpcore.ConnectError("unreachable in this test")

            patched.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
            with pytest.raises(WebhookUnreachable):
                await rebinding.call(call(f"http://rebind.example:{receiver.port}/"))
        assert (names.asked, connected) == (["rebind.example"], ["93.184.216.34"]), "one look-up a call"
        with pytest.raises(WebhookAddressForbidden):
            await rebinding.call(call(f"http://rebind.example:{receiver.port}/"))
        assert receiver.calls == []


async def test_of_a_names_addresses_only_allowed_ones_are_tried() -> None:
    async with receiving() as receiver:
        # 127.0.0.2 is allowed, and nothing listens there.
        mixed = HttpCaller(
            networks(["127.0.0.0/31", "127.0.0.2/32"]), resolve=Names(["10.0.0.1", "127.0.0.2", "127.0.0.1"])
        )
        assert (await mixed.call(call(f"http://mixed.example:{receiver.port}/"))).status == 204
        assert receiver.calls[0].headers["host"] == f"mixed.example:{receiver.port}"


async def test_an_address_that_does_not_answer_leaves_time_for_the_next() -> None:
    async with receiving() as receiver:
        with silent("127.0.0.2", receiver.port):
            two = caller(connect_seconds=0.2, resolve=Names(["127.0.0.2", "127.0.0.1"]))
            assert (await two.call(call(f"http://two.example:{receiver.port}/"))).status == 204


@contextmanager
def silent(address: str, port: int) -> Iterator[None]:
    """A port that is listened at with a full queue: the kernel answers no further connection."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server((address, port), backlog=0))
        for _ in range(3):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await caller().call(call(receiver.url))
        assert (len(proxy.calls), len(receiver.calls)) == (0, 1)


def server_tls(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a receiver with a certificate of `host`, and of a caller that trusts its authority."""
    signed = signed_for(host)
    (folder / "certificate.pem").write_text(signed.certificate)
    (folder / "key.pem").write_text(signed.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return server, ssl.create_default_context(cadata=signed.authority)


async def test_tls_verifies_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, trusting = server_tls(tmp_path, "ci.example")
    async with receiving(server) as receiver:
        url = "https://{}:" + f"{receiver.port}/"
        known = caller(tls=trusting, resolve=Names(["127.0.0.1"], ["127.0.0.1"]))
        assert (await known.call(call(url.format("ci.example")))).status == 204
        with pytest.raises(WebhookTlsFailed, match=r"other\.example"):
            await known.call(call(url.format("other.example")))
        with pytest.raises(WebhookTlsFailed):
            await caller(tls=trusted(), resolve=Names(["127.0.0.1"])).call(call(url.format("ci.example")))
    assert len(receiver.calls) == 1


async def test_a_receiver_without_tls() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(WebhookTlsFailed, match=r"^no TLS connection to 127\.0\.0\.1: "):
            await caller().call(call(f"https://127.0.0.1:{port}/"))
