"""Both clients while the server is away or a proxy answers: waits continue, requests are repeated."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from dayfly.client import (
    ApiError,
    AsyncClient,
    Client,
    ClusterFailed,
    Unreachable,
    async_connection,
    heartbeat,
    sync_connection,
)
from dayfly.client.waiting import unseen
from tests.unit.client.test_lifetime import CLUSTER

PROBLEM = {"Content-Type": "application/problem+json", "Retry-After": "3"}


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, content=json.dumps({"code": code, "detail": "x"}), headers=PROBLEM)


def outages() -> list[httpx.Response | httpx.TransportError]:
    """Answers that a caller gets while the service restarts behind a proxy."""
    return [
        problem(503, "shutting_down"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.ConnectError("refused"),
        httpx.Response(502, html="<html>Bad gateway</html>"),
        httpx.Response(429, html="<html>Too many</html>"),
        httpx.Response(500, text="Internal Server Error"),
        problem(500, "internal"),
    ]


class Script:
    """Sends responses in turn, and records requests; heartbeats are answered separately."""

    def __init__(self, *answers: httpx.Response | httpx.TransportError) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.beats = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/heartbeat"):
            self.beats += 1
            return httpx.Response(200, json={"heartbeat_interval_seconds": 6})
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the requested pauses; takes no time."""
    made: list[float] = []

    async def pause(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(sync_connection, "sync_pause", made.append)
    monkeypatch.setattr(async_connection, "async_pause", pause)
    return made


def cluster(**fields: object) -> httpx.Response:
    return httpx.Response(200, json={**CLUSTER, **fields})


def test_a_wait_goes_on_over_outages(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    script = Script(*outages(), cluster(phase="provisioning"), *outages(), cluster())
    with Client(transport=script.transport) as client:
        assert client.wait_ready("demo").phase == "ready"
    assert not script.answers
    assert pauses[0] == 3.0
    assert pauses[1:5] == [1.0, 2.0, 4.0, 5.0]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_an_asynchronous_wait_goes_on_too() -> None:
    script = Script(*outages(), cluster(phase="provisioning"), *outages(), cluster())
    async with AsyncClient(transport=script.transport) as client:
        assert (await client.wait_ready("demo")).phase == "ready"


def test_a_wait_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("dayfly.client.retries.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sync_connection, "sync_pause", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with Client(transport=httpx.MockTransport(refuse)) as client, pytest.raises(Unreachable):
        client.wait_ready("demo", timeout_seconds=60)
    assert now[0] == 60


def test_a_wait_ends_with_dayflys_own_no(pauses: list[float]) -> None:
    script = Script(problem(404, "not_found"))
    with Client(transport=script.transport) as client, pytest.raises(ApiError, match="not_found"):
        client.wait_ready("demo")
    assert not pauses


def test_following_goes_on_over_outages() -> None:
    event = {"id": 1, "at": "2026-01-01T00:00:00Z", "type": "phase", "message": "ready", "cluster": CLUSTER["id"]}
    last = {"events": [], "next_after": 1, "phase": "deleted"}
    script = Script(
        *outages(),
        cluster(),
        httpx.Response(200, json={"events": [event], "next_after": 1, "phase": "ready"}),
        *outages(),
        httpx.Response(200, json=last),
    )
    with Client(transport=script.transport) as client:
        assert [one.message for one in client.follow("demo")] == ["ready"]


class Breaking(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response that breaks off after `parts`."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


def console_script() -> Script:
    return Script(
        cluster(),
        httpx.Response(200, stream=Breaking(b"login: ", b"one\n")),
        *outages(),
        httpx.Response(200, text="boot\nlogin: one\ntwo\n"),
        httpx.ConnectError("refused"),
        httpx.Response(200, text="boot\nlogin: one\ntwo\nthree\n"),
        httpx.Response(200, text="four\n"),
    )


def test_following_a_console_goes_on_with_what_was_printed_meanwhile() -> None:
    script = console_script()
    with Client(transport=script.transport) as client:
        assert "".join(client.follow_console("demo", "node01")) == "login: one\ntwo\nthree\nfour\n"
    followed = [dict(one.url.params) for one in script.requests if "follow" in one.url.params]
    assert [one["tail_bytes"] for one in followed] == ["65536", "0", "0"]


async def test_the_async_client_follows_a_console_over_outages() -> None:
    async with AsyncClient(transport=console_script().transport) as client:
        texts = [text async for text in client.follow_console("demo", "node01")]
    assert "".join(texts) == "login: one\ntwo\nthree\nfour\n"


def test_following_a_console_ends_with_the_first_failure_and_dayflys_own_no(pauses: list[float]) -> None:
    with Client(transport=Script(httpx.ConnectError("refused")).transport) as client, pytest.raises(Unreachable):
        list(client.follow_console("demo", "node01"))
    script = Script(cluster(), httpx.Response(200, stream=Breaking(b"x")), problem(404, "not_found"))
    with Client(transport=script.transport) as client, pytest.raises(ApiError, match="not_found"):
        list(client.follow_console("demo", "node01"))
    assert len(pauses) == 1


@pytest.mark.parametrize(
    ("printed", "seen", "rest"),
    [("a\nb\n", "a\n", "b\n"), ("a\na\nb", "a\n", "b"), ("c\n", "a\n", "c\n"), ("c\n", "", ""), ("", "a", "")],
)
def test_what_a_console_printed_meanwhile(printed: str, seen: str, rest: str) -> None:
    assert unseen(printed, seen) == rest


def test_whoever_waits_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)
    enough = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        if script.beats >= 3:
            enough.set()
        assert request.method == "POST" or len(script.answers) > 1 or enough.wait(20)
        return script.answer(request)

    script = Script(
        *(cluster(phase="provisioning", heartbeat_interval_seconds=6) for _ in range(4)),
        cluster(heartbeat_interval_seconds=6),
    )
    with Client(transport=httpx.MockTransport(answer)) as client:
        client.wait_ready("demo")
    held = [float(request.url.params["timeout"]) for request in script.requests if "timeout" in request.url.params]
    assert held == [2.0] * 4
    assert script.beats >= 3


@pytest.mark.parametrize(
    ("fields", "code", "sentence"),
    [
        ({"phase": "ready", "desired": "absent"}, "deleted", "the cluster demo is being deleted"),
        ({"phase": "deleting", "desired": "absent"}, "deleted", "the cluster demo is being deleted"),
        ({"phase": "deleted", "desired": "absent"}, "deleted", "the cluster demo is deleted"),
        ({"phase": "ready", "desired": "hibernated"}, "not_ready", "the cluster demo is being hibernated"),
        ({"phase": "hibernated", "desired": "hibernated"}, "not_ready", "the cluster demo is hibernated"),
    ],
)
def test_a_true_sentence_for_what_is_not_ready(fields: dict[str, str], code: str, sentence: str) -> None:
    with (
        Client(transport=httpx.MockTransport(lambda _: cluster(**fields))) as client,
        pytest.raises(ClusterFailed) as caught,
    ):
        client.wait_ready("demo")
    assert (caught.value.code, str(caught.value)) == (code, sentence)


def repeated() -> list[httpx.Response | httpx.TransportError]:
    return [problem(503, "engine_unavailable"), httpx.ReadTimeout("timed out"), httpx.Response(202, json=CLUSTER)]


def keys(script: Script) -> set[str]:
    return {request.headers["idempotency-key"] for request in script.requests}


def test_a_create_is_repeated_with_its_key(pauses: list[float]) -> None:
    first, second = Script(*repeated()), Script(*repeated())
    for script in (first, second):
        with Client(transport=script.transport) as client:
            client.create("demo", image="bare")
        assert (len(script.requests), len(keys(script))) == (3, 1)
    assert keys(first) != keys(second)
    assert pauses[:2] == [3.0, 1.0]


async def test_the_async_client_repeats_a_create_with_the_callers_key() -> None:
    script = Script(*repeated())
    async with AsyncClient(transport=script.transport) as client:
        await client.create("demo", image="bare", idempotency_key="mine")
    assert (len(script.requests), keys(script)) == (3, {"mine"})


LOST = [httpx.ReadTimeout("x"), problem(503, "shutting_down"), httpx.Response(502, html="<html>x</html>")]


@pytest.mark.parametrize("last", LOST)
def test_a_deletion_that_may_have_been_carried_out_is_not_repeated(
    last: httpx.Response | httpx.TransportError,
) -> None:
    """The request names a cluster, whose name another cluster may have by then."""
    script = Script(problem(503, "engine_unavailable"), httpx.ConnectError("no"), last)
    with Client(transport=script.transport) as client, pytest.raises((Unreachable, ApiError)):
        client.delete("demo")
    assert not script.answers


CALLS: dict[str, Callable[[Client, str | None], object]] = {
    "pools": lambda client, key: client.create_pool("demo", image="bare", size=1, idempotency_key=key),
    "templates": lambda client, key: client.create_template(image="bare", idempotency_key=key),
    "checkpoints": lambda client, key: client.create_checkpoint("demo", "demo", idempotency_key=key),
    "reset": lambda client, key: client.reset("demo", idempotency_key=key),
}


@pytest.mark.parametrize("last", LOST)
@pytest.mark.parametrize("what", CALLS)
def test_a_post_whose_answer_is_lost_is_repeated_with_its_key(
    what: str, last: httpx.Response | httpx.TransportError
) -> None:
    for key in (None, "mine"):
        script = Script(last, problem(409, "conflict"))
        with Client(transport=script.transport) as client, pytest.raises(ApiError, match="conflict"):
            CALLS[what](client, key)
        assert {request.url.path.rpartition("/")[2] for request in script.requests} == {what}
        assert (len(script.requests), len(keys(script))) == (2, 1)
        assert key is None or keys(script) == {key}


def test_every_post_has_a_key() -> None:
    script = Script(*(httpx.Response(500, text="x") for _ in range(3)))
    with Client(transport=script.transport) as client:
        for call in (client.hibernate, client.resume, client.reset):
            with pytest.raises(ApiError):
                call("demo")
    assert len(keys(script)) == 3


async def test_keeping_alive_begins_in_an_outage() -> None:
    beats = [httpx.Response(502, html="<html>Bad gateway</html>"), problem(503, "shutting_down")]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and beats:
            return beats.pop()
        return script.answer(request)

    script = Script(*outages(), cluster(), *outages(), cluster())
    with Client(transport=httpx.MockTransport(answer)) as client, client.keep_alive("demo"):
        assert not beats
    async with AsyncClient(transport=httpx.MockTransport(answer)) as later, later.keep_alive("demo"):
        assert script.beats == 2
