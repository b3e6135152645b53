"""Waiting for or following a cluster sends its heartbeats: client and command line."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from typer.testing import CliRunner

from dayfly.cli import cluster, cluster_lifecycle
from dayfly.cli.main import app
from dayfly.client import AsyncClient, Client, heartbeat, sync_connection
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
