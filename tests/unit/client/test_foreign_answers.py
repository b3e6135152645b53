"""Answers that no Dayfly server sends end neither waits nor heartbeats, and raise only ClientError."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from dayfly.client import ApiError, AsyncClient, Client, ClientError, async_connection, heartbeat, sync_connection
from dayfly.schemas.clusters import Heartbeat
from tests.unit.client.test_lifetime import CLUSTER

PROBLEM = {"content-type": "application/problem+json"}


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a response that calls itself compressed, and is not."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"not gzip"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"not gzip"


def broken_gzip() -> httpx.Response:
    return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Broken())


def nested_problem() -> httpx.Response:
    return httpx.Response(404, headers=PROBLEM, content=b"[" * 200_000)


def nested_code() -> httpx.Response:
    deep = b"[" * 400 + b"]" * 400
    return httpx.Response(404, headers=PROBLEM, content=b'{"code":' + deep + b',"detail":' + deep + b"}")


def nested_value() -> httpx.Response:
    return httpx.Response(502, content=b'{"id":' + b"[" * 200_000)


def no_text() -> httpx.Response:
    return httpx.Response(502, headers={"content-type": "text/plain; charset=base64"}, content=b"\xff\xfe")


FOREIGN = (broken_gzip, nested_problem, nested_code, nested_value, no_text)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pause(_: float) -> None: ...

    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: None)
    monkeypatch.setattr(async_connection, "async_pause", pause)
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)


def answering(*made: Callable[[], httpx.Response]) -> tuple[httpx.MockTransport, list[Callable[[], httpx.Response]]]:
    left = list(made)
    return httpx.MockTransport(lambda _: left.pop(0)() if left else httpx.Response(200, json=CLUSTER)), left


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_wait_goes_on(foreign: Callable[[], httpx.Response]) -> None:
    transport, left = answering(foreign, foreign)
    with Client(transport=transport) as client:
        assert client.wait_ready("demo").phase == "ready"
    assert not left


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_an_asynchronous_wait_goes_on(foreign: Callable[[], httpx.Response]) -> None:
    transport, left = answering(foreign, foreign)
    async with AsyncClient(transport=transport) as client:
        assert (await client.wait_ready("demo")).phase == "ready"
    assert not left


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_text_is_a_text_or_an_error_of_the_client(foreign: Callable[[], httpx.Response]) -> None:
    transport, _ = answering(foreign, foreign)
    with Client(transport=transport) as client:
        with pytest.raises(ClientError):
            client.console("demo", "node01")
        with pytest.raises(ClientError):
            list(client.follow_console("demo", "node01"))


def test_a_charset_of_no_text() -> None:
    answer = httpx.Response(200, headers={"content-type": "text/plain; charset=base64"}, content=b"boot\n")
    with Client(transport=httpx.MockTransport(lambda _: answer)) as client:
        assert client.console("demo", "node01") == "boot\n"


class Beats:
    """A cluster whose heartbeats are answered with each foreign answer once, then with a beat for ever."""

    def __init__(self) -> None:
        self.left = list(FOREIGN)
        self.later = 0
        self.enough = threading.Event()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=CLUSTER)
        self.later += not self.left
        if self.later >= 2:
            self.enough.set()
        if self.left and self.later == 0 and self.begun:
            return self.left.pop(0)()
        self.begun = True
        return httpx.Response(200, json={"heartbeat_interval_seconds": 30})

    begun = False


def test_heartbeats_go_on() -> None:
    server = Beats()
    with Client(transport=httpx.MockTransport(server.answer)) as client, client.keep_alive("demo"):
        assert server.enough.wait(20)
    assert not server.left


def test_whatever_a_heartbeat_raises_the_next_one_follows(caplog: pytest.LogCaptureFixture) -> None:
    enough, beats = threading.Event(), [0]

    def beat() -> Heartbeat:
        beats[0] += 1
        if beats[0] == 2:
            raise RuntimeError("a defect")
        if beats[0] == 4:
            enough.set()
        return Heartbeat(expires_at=None, heartbeat_interval_seconds=30)

    with heartbeat.sync_heartbeats(beat, expected_end=lambda: False):
        assert enough.wait(20)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == [
        "heartbeat failed, the next one follows: RuntimeError('a defect')"
    ]


async def test_the_same_in_asyncio() -> None:
    enough, beats = asyncio.Event(), [0]

    async def beat() -> Heartbeat:
        beats[0] += 1
        if beats[0] == 2:
            raise RuntimeError("a defect")
        if beats[0] == 4:
            enough.set()
            raise ApiError("conflict", 409, "it is being deleted", {})
        return Heartbeat(expires_at=None, heartbeat_interval_seconds=30)

    async def keep() -> None:
        async with heartbeat.async_heartbeats(beat, expected_end=lambda: False):
            await asyncio.wait_for(enough.wait(), 20)

    with pytest.raises(ApiError, match="being deleted"):
        await keep()
