"""`--wait` while the server is away, and of clusters that expect heartbeats; a repeated `cluster create`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import httpx
import pytest
from typer.testing import Result

from dayfly.cli.errors import explain
from dayfly.cli.progress.cluster import watch
from dayfly.client import Client, Cluster, ClusterFailed, heartbeat, sync_connection
from dayfly.schemas.base import FROM_SERVER
from tests.unit.client.test_lifetime import CLUSTER

Dayfly = Callable[..., Result]


class Server:
    """A cluster with heartbeats of 6 s that is `last` at the fifth look; every second request meets an outage.

    With `beats_needed`, the fifth look waits for so many heartbeats.
    """

    def __init__(self, *, beats_needed: int = 0, **last: str) -> None:
        self.last = last
        self.beats_needed = beats_needed
        self.enough = threading.Event()
        self.requests = self.looks = self.beats = 0
        self.held: list[float] = []

    def cluster(self) -> dict[str, object]:
        now = self.last if self.looks >= 5 else {"phase": "provisioning"}
        return {**CLUSTER, "heartbeat_interval_seconds": 6, **now}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/heartbeat"):
            self.beats += 1
            if self.beats >= self.beats_needed:
                self.enough.set()
            return httpx.Response(429, html="<html>busy</html>")
        self.requests += 1
        if self.requests % 2:
            if self.requests % 4 == 1:
                raise httpx.ConnectError("refused")
            return httpx.Response(502, html="<html>Bad gateway</html>")
        if request.url.path.endswith("/events"):
            self.held.append(float(request.url.params["wait"]))
            return httpx.Response(200, json={"events": [], "next_after": 0, "phase": "provisioning"})
        self.looks += 1
        assert self.looks < 5 or not self.beats_needed or self.enough.wait(20)
        return httpx.Response(200, json=self.cluster())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: None)
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)


def watched(server: Server) -> Cluster:
    cluster = Cluster.model_validate(server.cluster(), context=FROM_SERVER)
    with Client(transport=httpx.MockTransport(server.answer)) as client:
        return watch(client, cluster, "ready", 600)


def test_a_watched_cluster_gets_heartbeats_and_outages_end_nothing() -> None:
    server = Server(beats_needed=5, phase="ready")
    assert watched(server).phase == "ready"
    assert server.beats >= 5
    assert server.held == [2.0] * 5 + [0.0]


def test_a_watched_cluster_that_is_being_deleted() -> None:
    with pytest.raises(ClusterFailed) as caught:
        watched(Server(phase="ready", desired="absent"))
    explained = explain(caught.value)
    assert explained is not None
    assert explained.lines == (
        "error [deleted]: the cluster demo is being deleted\n  hint: dayfly cluster events 0123456789ab"
    )


def test_a_create_that_is_repeated_with_its_key(dayfly: Dayfly) -> None:
    command = ("cluster", "create", "keyed", "--image", "bare", "--idempotency-key", "ci-4711", "--json")
    first, second = dayfly(*command), dayfly(*command)
    assert (first.exit_code, second.exit_code) == (0, 0), second.output
    assert json.loads(first.stdout)["id"] == json.loads(second.stdout)["id"]
    other = dayfly("cluster", "create", "other", "--image", "bare", "--idempotency-key", "ci-4711")
    assert other.stderr.startswith("error [idempotency_key_reused]: ")


@pytest.mark.parametrize(
    "command",
    [
        ("pool", "create", "keyed-pool", "--image", "bare", "--size", "0"),
        ("template", "create", "--image", "bare"),
        ("cluster", "checkpoint", "create", "to-keep", "saved"),
        ("cluster", "reset", "to-reset"),
    ],
)
def test_a_command_with_a_key_is_carried_out_once(dayfly: Dayfly, command: tuple[str, ...]) -> None:
    if command[0] == "cluster":
        # A new name: the cluster of the previous test may still be deleting.
        name = next(word for word in command if word.startswith("to-"))
        made = dayfly("cluster", "create", name, "--image", "bare", "--wait")
        assert made.exit_code == 0, made.output
    keyed = (*command, "--idempotency-key", f"key-{command[1]}-{len(command)}", "--json")
    first, second = dayfly(*keyed), dayfly(*keyed)
    assert (first.exit_code, second.exit_code) == (0, 0), second.output
    for name in ("id", "name", "created_at", "generation"):
        assert json.loads(first.stdout).get(name) == json.loads(second.stdout).get(name)
