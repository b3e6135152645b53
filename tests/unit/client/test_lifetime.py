"""Both clients: extending a cluster's life, and reading its end."""

from __future__ import annotations

import asyncio
import io
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from dayfly.client import ApiError, AsyncClient, Client, HoldRequest, heartbeat

SIZE = {"vcpus": 1, "memory_mib": 512, "disk_gib": 8}
CLUSTER = {
    "id": "0123456789ab",
    "name": "demo",
    "owner": "default",
    "image": "bare",
    "image_id": "sha256:1",
    "control_plane": SIZE,
    "workers": {"count": 0, **SIZE},
    "readiness": "booted",
    "labels": {},
    "restart": "always",
    "restarts": 0,
    "phase": "ready",
    "desired": "present",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "endpoints": {},
    "steps": [],
}
"""The fields of 0.2.0, without null values."""


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as opened:
        yield opened


def names(tarball: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as tar:
        return tar.getnames()


def test_a_cluster_is_kept_changed_and_looked_into(client: Client) -> None:
    until = datetime.now(UTC) + timedelta(minutes=30)
    made = client.create(
        "kept",
        image="bare",
        owner="ci",
        heartbeat_interval_seconds=60,
        restart="never",
        hold=HoldRequest(until=until, reason="in case it fails"),
    )
    assert (made.owner, made.heartbeat_interval_seconds, made.restart) == ("ci", 60, "never")
    assert made.hold is not None
    assert (made.hold.until, made.hold.vms) == (until, "running")
    ready = client.wait_ready("kept")
    assert ready.ready_at is not None
    assert ready.expires_because == "heartbeat"
    assert client.extend("kept", 30).expires_at == ready.ready_at + timedelta(seconds=30)
    assert client.extend("kept", 30).expires_because == "ttl"
    assert client.change("kept", ttl_seconds=None, labels={"a": "b"}).labels == {"a": "b"}
    assert client.get("kept").ttl_seconds is None
    assert client.change("kept", idle_seconds=600).idle_seconds == 600
    assert client.change("kept", idle_seconds=None).idle_seconds is None
    beat = client.heartbeat("kept")
    assert beat.heartbeat_interval_seconds == 60
    assert beat.expires_at == client.get("kept").expires_at
    held = client.hold("kept", seconds=60, reason="a look", vms="stopped").hold
    assert held is not None
    assert (held.reason, held.vms) == ("a look", "stopped")
    assert client.release_hold("kept").hold is None
    assert [one.name for one in client.list(owner="ci")] == ["kept"]
    assert client.list(owner="nobody") == ()
    assert "kept/cluster.json" in names(client.diagnostics("kept"))


async def test_the_async_client_does_the_same(async_client: AsyncClient) -> None:
    hold = HoldRequest(seconds=60, reason="x", vms="stopped")
    made = await async_client.create("async-kept", image="bare", heartbeat_interval_seconds=60, hold=hold, owner="them")
    assert made.hold is not None
    assert made.hold.vms == "stopped"
    assert (await async_client.dry_run(image="bare", restart="never", owner="me")).restart == "never"
    await async_client.wait_ready("async-kept")
    assert (await async_client.extend("async-kept", 600)).ttl_seconds == 600
    assert (await async_client.change("async-kept", labels={"a": "b"})).ttl_seconds == 600
    assert (await async_client.change("async-kept", idle_seconds=90)).idle_seconds == 90
    assert (await async_client.heartbeat("async-kept")).expires_at is not None
    assert (await async_client.hold("async-kept", seconds=60, reason="y")).hold is not None
    assert (await async_client.release_hold("async-kept")).hold is None
    assert [one.name for one in await async_client.list(owner="them")] == ["async-kept"]
    assert "async-kept/now/engine.txt" in names(await async_client.diagnostics("async-kept"))


def test_clusters_of_older_and_newer_servers() -> None:
    newer = {**CLUSTER, "phase": "melting", "colour": "red", "workers": {"count": 0, **SIZE, "gpus": 1}}
    answers = [CLUSTER, newer]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answers.pop(0)))
    with Client(transport=transport) as client:
        old, new = client.get("demo"), client.get("demo")
    assert (old.purpose, old.generation, old.isolation, old.idle_seconds) == ("cluster", 1, "shared", None)
    assert old.ports == ()
    assert (old.phase, new.phase, new.workers.count) == ("ready", "melting", 0)


def test_a_place_in_the_queue(client: Client) -> None:
    made = client.create("slow-place", image="bare")
    assert made.queue_position is not None
    assert made.queue_position >= 1
    assert made.estimated_start_at is not None


def test_a_change_of_nothing_is_refused(client: Client) -> None:
    client.create("unchanged", image="bare")
    with pytest.raises(ApiError) as caught:
        client.change("unchanged")
    assert caught.value.code == "invalid_request"


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "pause_seconds", lambda _: 0.001)


FOREIGN = frozenset({401, 403, 404, 429})
"""Statuses that a proxy answers with a page."""


class Server:
    """A cluster that answers one GET, then each heartbeat with the next status; the last status repeats."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.beats = 0
        self.enough = threading.Event()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method in {"GET", "DELETE"}:
            return httpx.Response(200, json=CLUSTER)
        assert request.url.path == "/v1/clusters/0123456789ab/heartbeat"
        self.beats += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if self.beats >= 8 or status == 409:
            self.enough.set()
        if status == 0:
            raise httpx.ConnectError("refused")
        if status in FOREIGN:
            return httpx.Response(status, html="<html>no</html>")
        if status != 200:
            code = "conflict" if status == 409 else "internal"
            return httpx.Response(
                status, json={"code": code, "detail": "no"}, headers={"Content-Type": "application/problem+json"}
            )
        return httpx.Response(200, json={"heartbeat_interval_seconds": 30})


@pytest.mark.usefixtures("quick_beats")
def test_heartbeats_go_on_in_the_background_whatever_happens_to_some() -> None:
    server = Server(200, 0, 503, 403, 429, 404, 200)
    with Client(transport=httpx.MockTransport(server.answer)) as client:
        with client.keep_alive("demo"):
            assert server.enough.wait(20)
        seen = server.beats
        assert not [one for one in threading.enumerate() if one.name == "dayfly-heartbeats"]
        assert server.beats == seen


@pytest.mark.usefixtures("quick_beats")
def test_heartbeats_end_with_the_cluster_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(200, 200, 409)
    with Client(transport=httpx.MockTransport(server.answer)) as client:
        with pytest.raises(ApiError, match="conflict"), client.keep_alive("demo"):
            assert server.enough.wait(20)
        assert server.beats == 3
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "heartbeats ended: [conflict] no"
    ]


@pytest.mark.usefixtures("quick_beats")
def test_a_caller_that_deletes_the_cluster_expects_the_end() -> None:
    server = Server(200, 409)
    with Client(transport=httpx.MockTransport(server.answer)) as client, client.keep_alive("demo"):
        client.delete("demo")
        assert server.enough.wait(20)


def test_a_first_heartbeat_that_is_refused_is_told() -> None:
    server = Server(409)
    with Client(transport=httpx.MockTransport(server.answer)) as client:
        with pytest.raises(ApiError, match="conflict"), client.keep_alive("demo"):
            pytest.fail("the block began")
        assert server.beats == 1


@pytest.mark.usefixtures("quick_beats")
async def test_the_async_client_keeps_alive_too() -> None:
    server = Server(200, 0, 503, 403, 429, 404, 200)
    async with AsyncClient(transport=httpx.MockTransport(server.answer)) as client, asyncio.timeout(20):
        async with client.keep_alive("demo"):
            assert await asyncio.to_thread(server.enough.wait, 20)
        assert server.beats >= 8
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.usefixtures("quick_beats")
async def test_the_async_clients_heartbeats_end_loudly_too(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(200, 409)
    async with AsyncClient(transport=httpx.MockTransport(server.answer)) as client, asyncio.timeout(20):
        with pytest.raises(ApiError, match="conflict"):
            async with client.keep_alive("demo"):
                assert await asyncio.to_thread(server.enough.wait, 20)
    assert "heartbeats ended: [conflict] no" in caplog.messages


async def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    server = Server(200)
    async with AsyncClient(transport=httpx.MockTransport(server.answer)) as client:
        with pytest.raises(ValueError, match="mine"):
            async with client.keep_alive("demo"):
                raise ValueError("mine")
