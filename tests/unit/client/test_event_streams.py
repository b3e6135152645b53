"""Both clients follow events by a stream: reconnects, ends, and servers that send something else."""

from __future__ import annotations

import json
from itertools import islice

import httpx
import pytest

from dayfly.client import ApiError, AsyncClient, Client, Unreachable, async_connection, sync_connection
from tests.unit.client.test_lifetime import CLUSTER
from tests.unit.client.test_outages import Breaking, Script, cluster, outages, problem

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}
BEGIN = b"id: 0\nretry: 1000\n\n"
END = b'event: end\ndata: {"phase": "deleted"}\nid: 3\n\n'


def frame(number: int, **fields: object) -> bytes:
    event = {"id": number, "at": "2026-01-01T00:00:00Z", "type": "phase", "message": f"m{number}", **fields}
    return f"data: {json.dumps(event)}\nid: {number}\n\n".encode()


def stream(*parts: bytes, broken: bool = False) -> httpx.Response:
    if broken:
        return httpx.Response(200, stream=Breaking(*parts), headers=STREAM)
    return httpx.Response(200, content=b"".join(parts), headers=STREAM)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the requested pauses; takes no time."""
    made: list[float] = []

    async def pause(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(sync_connection, "sync_pause", made.append)
    monkeypatch.setattr(async_connection, "async_pause", pause)
    return made


def restarts() -> Script:
    """Streams that break off within a frame, end without an end, and go on."""
    return Script(
        cluster(),
        stream(BEGIN, frame(1), frame(2)[:-1], broken=True),
        *outages(),
        stream(b": keep-alive\nid: 1\n\n", frame(2), b"id: 2\nretry: 1000\n: connect again\n\n"),
        problem(503, "too_many_streams"),
        stream(b"event: of a newer server\ndata: 7\nid: 2\n\n", frame(3), END),
    )


def asked(script: Script) -> list[str]:
    """Where each request for events wanted to begin: both parameter and header."""
    requests = [one for one in script.requests if one.url.path.endswith("/events")]
    assert all(one.url.params["after"] == one.headers["last-event-id"] for one in requests)
    assert all("text/event-stream" in one.headers["accept"] for one in requests)
    return [one.headers["last-event-id"] for one in requests]


def test_following_goes_on_after_the_last_event(pauses: list[float]) -> None:
    script = restarts()
    with Client(transport=script.transport) as client:
        assert [one.message for one in client.follow("demo")] == ["m1", "m2", "m3"]
    assert not script.answers
    assert asked(script) == ["0", *["1"] * 8, "2", "2"]
    assert pauses[-1] == 3.0, "the Retry-After of the server"


async def test_the_asynchronous_client_does_too() -> None:
    script = restarts()
    async with AsyncClient(transport=script.transport) as client:
        assert [one.message async for one in client.follow("demo")] == ["m1", "m2", "m3"]
    assert asked(script) == ["0", *["1"] * 8, "2", "2"]


def test_following_begins_where_the_caller_wants() -> None:
    script = Script(cluster(), stream(frame(8), END))
    with Client(transport=script.transport) as client:
        assert [one.id for one in client.follow("demo", after=7)] == [8]
    assert asked(script) == ["7"]


def test_pages_of_an_older_server_are_followed() -> None:
    page = {"events": [json.loads(frame(1).split(b"\n")[0][6:])], "next_after": 1, "phase": "deleted"}
    script = Script(
        cluster(), httpx.Response(200, json=page), httpx.Response(200, json={**page, "events": [], "next_after": 1})
    )
    with Client(transport=script.transport) as client:
        assert [one.id for one in client.follow("demo")] == [1]
    assert [one.url.params["wait"] for one in script.requests[1:]] == ["50.0", "50.0"]


def of_cluster(number: int) -> bytes:
    return frame(number, cluster=CLUSTER["id"], cluster_name="demo", owner="me")


def test_events_of_all_clusters_are_followed() -> None:
    script = Script(stream(BEGIN, of_cluster(4)), stream(of_cluster(5), broken=True), problem(404, "not_found"))
    with Client(transport=script.transport) as client:
        following = client.follow_all(owner="me", labels={"a": "b"}, types=["phase"], clusters=["demo", "x"])
        assert [(one.id, one.cluster_name) for one in islice(following, 2)] == [(4, "demo"), (5, "demo")]
        with pytest.raises(ApiError, match="not_found"):
            next(following)
    assert asked(script) == ["0", "4", "5"]
    params = script.requests[0].url.params
    assert (params["owner"], params["label"], params["kind"]) == ("me", "a=b", "phase")
    assert params.get_list("cluster") == ["demo", "x"]


async def test_events_of_all_clusters_are_followed_asynchronously() -> None:
    script = Script(stream(BEGIN, of_cluster(4)), problem(404, "not_found"))
    async with AsyncClient(transport=script.transport) as client:
        with pytest.raises(ApiError, match="not_found"):
            assert [one.id async for one in client.follow_all()] == [4]
    assert asked(script) == ["0", "4"]


@pytest.mark.parametrize(
    "content",
    [
        b"data: {}\nid: 1\n\n",
        b"data: [\nid: 1\n\n",
        b"data: 7\nid: 1\n\n",
        frame(1).replace(b"id: 1\n", b"id: x\n"),
        b"event: end\ndata: {}\nid: 1\n\n",
        b"event: end\nid: 1\n\n",
        b"data: " + b"[" * 100_000 + b"\nid: 1\n\n",
    ],
)
def test_a_stream_that_is_not_dayflys_is_refused(content: bytes) -> None:
    script = Script(cluster(), stream(content))
    with Client(transport=script.transport) as client, pytest.raises(ApiError) as caught:
        list(client.follow("demo"))
    assert caught.value.code == "unexpected_answer"


def test_a_stream_that_never_has_an_event_is_left_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a proxy that ends it at once."""
    now = [0.0]
    monkeypatch.setattr("dayfly.client.retries.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sync_connection, "sync_pause", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def answer(request: httpx.Request) -> httpx.Response:
        return stream() if request.url.path.endswith("/events") else cluster()

    with Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(Unreachable, match="ended"):
        list(client.follow("demo"))
    assert now[0] == 600
