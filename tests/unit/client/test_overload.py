"""The client while the server holds its maximum of responses: waits and heartbeats continue."""

from __future__ import annotations

import threading

import httpx
import pytest

from dayfly.client import Client, heartbeat, sync_connection
from tests.unit.client.test_outages import Script, cluster, problem


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which pauses advance."""
    time = [0.0]
    monkeypatch.setattr("dayfly.client.retries.time.monotonic", lambda: time[0])
    monkeypatch.setattr(sync_connection, "sync_pause", lambda seconds: time.__setitem__(0, time[0] + seconds))
    return time


def test_whoever_waits_sends_heartbeats_while_no_response_can_be_held(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)
    held: list[float] = []
    enough = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/heartbeat"):
            if script.beats >= 8:
                enough.set()
            return script.answer(request)
        assert now[0] < 20 or enough.wait(20)
        seconds = float(request.url.params.get("timeout", 0.0))
        held.append(seconds)
        if seconds > 0:
            return problem(503, "too_many_waits")
        return cluster(phase="provisioning" if now[0] < 20 else "ready", heartbeat_interval_seconds=6)

    script = Script()
    with Client(transport=httpx.MockTransport(answer)) as client:
        assert client.wait_ready("demo", timeout_seconds=60).phase == "ready"
    assert held == [0.0, *[2.0, 0.0] * 10]
    assert script.beats >= 9


def test_a_held_request_takes_its_time_and_no_more(now: list[float]) -> None:
    events = httpx.Response(200, json={"events": [], "next_after": 0, "phase": "ready"})
    script = Script(*(problem(503, "too_many_waits") for _ in range(4)), events)
    with Client(transport=script.transport) as client:
        assert client.events("demo", wait_seconds=10).phase == "ready"
    assert [float(request.url.params["wait"]) for request in script.requests] == [10.0, 7.0, 4.0, 1.0, 0.0]
    assert now == [10.0]
