"""Waiting for or following a cluster sends its heartbeats: client and command line."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from typer.testing import CliRunner

from dayfly.cli import cluster, cluster_lifecycle
from dayfly.cli.main import app
from dayfly.cli.progress.cluster import watch
from dayfly.client import AsyncClient, Client, Cluster, async_connection, heartbeat, sync_connection
from dayfly.schemas.base import FROM_SERVER
from tests.unit.client.test_lifetime import CLUSTER

EXPECTS = {**CLUSTER, "heartbeat_interval_seconds": 6}
EVENT = {"id": 1, "at": "2026-01-01T00:00:00Z", "type": "phase", "message": "deleted"}
CHECKPOINT = {"id": "1", "name": "c", "created_at": "2026-01-01T00:00:00Z", "size_bytes": 0}
ENOUGH = 4


class Server:
    """The wait ends after enough heartbeats; the second heartbeat gets a proxy's page."""

    def __init__(self) -> None:
        self.beats = 0
        self.enough = threading.Event()
        self.checkpoint_looks = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/heartbeat"):
            return self.beat()
        if path.endswith("/events"):
            assert self.enough.wait(20)
            after = request.url.params.get("after") != "0"
            return httpx.Response(200, json={"events": [] if after else [EVENT], "next_after": 1, "phase": "deleted"})
        if path.endswith("/console"):
            return httpx.Response(200, stream=Console(self.enough))
        if "/checkpoints" in path:
            assert request.method == "POST" or self.enough.wait(20)
            return httpx.Response(
                200, json={**CHECKPOINT, "phase": "creating" if request.method == "POST" else "ready"}
            )
        return httpx.Response(200, json=EXPECTS)

    def beat(self) -> httpx.Response:
        self.beats += 1
        if self.beats == 2:
            return httpx.Response(403, html="<html>no</html>")
        if self.beats >= ENOUGH:
            self.enough.set()
        return httpx.Response(200, json={"heartbeat_interval_seconds": 6})


class Console(httpx.SyncByteStream):
    """A console that prints nothing until `enough`."""

    def __init__(self, enough: threading.Event) -> None:
        self.enough = enough

    def __iter__(self) -> Iterator[bytes]:
        assert self.enough.wait(20)
        yield b"login: "


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server of the commands; a third of the interval is no time, nor is any pause."""
    made = Server()
    opened = partial(Client, transport=httpx.MockTransport(made.answer))
    for module in (cluster, cluster_lifecycle):
        monkeypatch.setattr(module, "Client", opened)
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)
    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: None)
    return made


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        (("checkpoint", "create", "demo", "c", "--wait"), "checkpoint c is ready"),
        (("events", "demo", "--follow"), "deleted"),
        (("console", "demo", "node01", "--follow"), "login: "),
    ],
)
def test_a_command_that_waits_sends_heartbeats(server: Server, command: tuple[str, ...], printed: str) -> None:
    done = CliRunner().invoke(app, ["cluster", *command])
    assert (done.exit_code, server.beats >= ENOUGH) == (0, True), done.output
    assert printed in done.stdout
    assert not [one for one in threading.enumerate() if one.name == "dayfly-heartbeats" and one.is_alive()]


async def test_the_asynchronous_client_follows_and_sends_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)
    made = Server()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            await _until(made.enough.is_set)
        return made.answer(request)

    async with AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert [event.message async for event in client.follow("demo")] == ["deleted"]
    assert made.beats >= ENOUGH


async def _until(holds: Callable[[], bool]) -> None:
    """Lets the heartbeats' task run."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - the stand-in has a thread's event
            await asyncio.sleep(0)


def test_a_refused_heartbeat_ends_no_follower(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict() -> httpx.Response:
        server.enough.set()
        return httpx.Response(
            409, json={"code": "conflict", "detail": "x"}, headers={"content-type": "application/problem+json"}
        )

    monkeypatch.setattr(server, "beat", conflict)
    done = CliRunner().invoke(app, ["cluster", "events", "demo", "--follow"])
    assert (done.exit_code, done.stderr) == (0, "")


class Failing:
    """A cluster with heartbeats whose looks a proxy refuses until enough heartbeats came; the first look succeeds."""

    def __init__(self, cluster: dict[str, object], *, enough: int = ENOUGH) -> None:
        self.cluster = {**cluster, "phase": "provisioning"}
        self.needed = enough
        self.looks = self.refused = self.beats = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/heartbeat"):
            self.beats += 1
            return httpx.Response(200, json={"heartbeat_interval_seconds": 6})
        self.looks += 1
        wanting = self.needed and not (self.refused and self.beats >= self.needed)
        if wanting and (self.looks > 1 or request.url.path.endswith("/events")):
            self.refused += 1
            return httpx.Response(429, html="<html>busy</html>", headers={"Retry-After": "8"})
        if request.url.path.endswith("/events"):
            return httpx.Response(200, json={"events": [], "next_after": 0, "phase": "ready"})
        return httpx.Response(200, json={**self.cluster, "phase": "provisioning" if wanting else "ready"})

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def seen(self) -> Cluster:
        return Cluster.model_validate(self.cluster, context=FROM_SERVER)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats follow at once; a pause after a refused look takes a moment only, in which a heartbeat may come."""
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)
    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: time.sleep(0.001))

    async def pause(_: float) -> None:
        await asyncio.sleep(0.001)

    monkeypatch.setattr(async_connection, "async_pause", pause)


@pytest.mark.usefixtures("quick")
def test_a_wait_whose_looks_fail_sends_heartbeats() -> None:
    server = Failing(EXPECTS)
    with Client(transport=server.transport) as client:
        assert client.wait_ready("demo", timeout_seconds=20).phase == "ready"
    assert server.refused


@pytest.mark.usefixtures("quick")
async def test_an_asynchronous_wait_whose_looks_fail_sends_heartbeats() -> None:
    server = Failing(EXPECTS)
    async with AsyncClient(transport=server.transport) as client:
        assert (await client.wait_ready("demo", timeout_seconds=20)).phase == "ready"
    assert server.refused


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("was_ready", [False, True], ids=["created", "resumed"])
def test_a_watched_cluster_whose_looks_fail_gets_heartbeats(was_ready: bool) -> None:
    server = Failing({**EXPECTS, "ready_at": "2026-01-01T00:00:00Z"} if was_ready else EXPECTS)
    with Client(transport=server.transport) as client:
        assert watch(client, server.seen(), "ready", 20).phase == "ready"
    assert server.refused


def test_a_wait_sends_one_heartbeat_in_each_third_of_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the first third lasts longer than the wait."""
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 60.0)
    monkeypatch.setattr(sync_connection, "sync_pause", lambda _: time.sleep(0.001))
    for wait in (_wait_ready, _watch_ready):
        server = Failing(EXPECTS, enough=1)
        with Client(transport=server.transport) as client:
            assert wait(client, server.seen()).phase == "ready"
        assert server.beats == 1


def _wait_ready(client: Client, seen: Cluster) -> Cluster:
    return client.wait_ready(seen.name, timeout_seconds=20)


def _watch_ready(client: Client, seen: Cluster) -> Cluster:
    return watch(client, seen, "ready", 20)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("cluster", [CLUSTER, {**EXPECTS, "desired": "absent"}], ids=["no interval", "being deleted"])
def test_a_cluster_that_expects_no_heartbeat_gets_none(cluster: dict[str, object]) -> None:
    server = Failing(cluster, enough=0)
    looks = iter(range(20))

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events") or request.url.path.endswith("/heartbeat"):
            return server.answer(request)
        time.sleep(0.001)
        phase = "provisioning" if next(looks) < 10 else "deleted"
        return httpx.Response(200, json={**server.cluster, "phase": phase})

    with Client(transport=httpx.MockTransport(answer)) as client:
        client.wait_deleted("demo", timeout_seconds=20)
        looks = iter(range(20))
        assert watch(client, server.seen(), "deleted", 20).phase == "deleted"
    assert server.beats == 0
