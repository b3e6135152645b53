"""Both clients: reset, hibernate and resume; checkpoints, templates and pools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from dayfly.client import (
    ApiError,
    AsyncClient,
    Client,
    ClusterFailed,
    Period,
    Pool,
    SizeRequest,
    Template,
    ToCheckpoint,
    WaitTimeout,
)

SIZE = SizeRequest(memory_mib=700)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as opened:
        yield opened


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as opened:
        yield opened


def until(look: Callable[[], bool]) -> None:
    """Give the server's worker, which is a thread, the time it needs."""
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_cluster_goes_back_to_sleep_and_on(client: Client) -> None:
    made = client.create("states", image="bare", isolation="strict", idle_seconds=90)
    assert (made.isolation, made.idle_seconds, made.purpose) == ("strict", 90, "cluster")
    client.wait_ready("states")
    asked = client.reset("states")
    assert (asked.id, asked.generation) == (made.id, 2)
    again = client.wait_ready("states")
    assert (again.generation, again.reset_to) == (2, None)
    assert client.hibernate("states").desired == "hibernated"
    asleep = client.wait_hibernated("states")
    assert (asleep.id, asleep.phase) == (made.id, "hibernated")
    assert client.resume("states").id == made.id
    assert client.wait_ready("states").phase == "ready"


def test_checkpoints(client: Client) -> None:
    client.create("saved", image="bare")
    client.wait_ready("saved")
    assert client.create_checkpoint("saved", "before").name == "before"
    until(lambda: client.checkpoint("saved", "before").phase == "ready")
    assert [one.name for one in client.checkpoints("saved")] == ["before"]
    asked = client.reset("saved", checkpoint="before")
    assert asked.reset_to in {ToCheckpoint(checkpoint="before"), None}
    assert client.wait_ready("saved").generation == 2
    client.delete_checkpoint("saved", "before")
    until(lambda: client.checkpoints("saved") == ())
    with pytest.raises(ApiError) as caught:
        client.reset("saved", checkpoint="before")
    assert caught.value.code == "not_found"


def test_templates(client: Client) -> None:
    made = client.create_template(image="k8s", control_plane=SIZE, readiness="nodes", owner="templates")
    assert (made.phase, made.control_plane.memory_mib, made.readiness) == ("building", 700, "nodes")
    until(lambda: client.template(made.id).phase == "ready")
    assert [one.id for one in client.templates(owner="templates")] == [made.id]
    client.create("forked", image="k8s", control_plane=SIZE, readiness="nodes", owner="templates")
    assert client.wait_ready("forked").template == made.id
    assert client.template(made.id).forks >= 1
    assert made.parents.builder not in {one.id for one in client.list(owner="templates")}
    assert client.delete_template(made.id).phase == "retiring"
    assert client.templates(owner="nobody", retired=True) == ()


def test_pools(client: Client) -> None:
    schedule = [Period(days=("mon", "sun"), since="00:00", until="24:00", size=1)]
    made = client.create_pool("kept-warm", image="bare", size=1, maximum=1, worker=SIZE, workers=1, owner="pools")
    assert (made.size, made.maximum, made.workers.count, made.schedule) == (1, 1, 1, ())
    until(lambda: client.pool("kept-warm").ready == 1)
    assert "kept-warm" in {one.name for one in client.pools()}
    assert [one.pool for one in client.list(owner="pools", purposes=["pool_member"])] == [made.id]
    taken = client.create("taken", image="bare", workers=1, worker=SIZE, owner="pools")
    assert client.wait_ready(taken.id).id == taken.id
    changed = client.change_pool("kept-warm", size=0, schedule=schedule, max_age_seconds=600)
    assert (changed.size, changed.schedule, changed.max_age_seconds) == (0, tuple(schedule), 600)
    assert client.delete_pool("kept-warm").id == made.id
    with pytest.raises(ApiError) as caught:
        client.pool("kept-warm")
    assert caught.value.code == "not_found"
    assert client.get("taken").id == taken.id


async def test_the_async_client_does_the_same(async_client: AsyncClient) -> None:
    client = async_client
    await client.create("async-states", image="bare", isolation="strict")
    await client.wait_ready("async-states")
    await client.create_checkpoint("async-states", "one")
    for _ in range(2000):
        if (await client.checkpoint("async-states", "one")).phase == "ready":
            break
        await asyncio.sleep(0.01)
    await client.reset("async-states", checkpoint="one")
    assert (await client.wait_ready("async-states")).generation == 2
    assert len(await client.checkpoints("async-states")) == 1
    await client.delete_checkpoint("async-states", "one")
    await client.hibernate("async-states")
    assert (await client.wait_hibernated("async-states")).phase == "hibernated"
    await client.resume("async-states")
    await client.wait_ready("async-states")
    template: Template = await client.create_template(image="bare", owner="async", workers=1)
    assert (await client.template(template.id)).owner == "async"
    assert [one.id for one in await client.templates(owner="async")] == [template.id]
    assert (await client.delete_template(template.id)).phase in {"retiring", "retired"}
    pool: Pool = await client.create_pool("async-pool", image="bare", size=0, owner="async")
    assert (await client.pool(pool.id)).name == "async-pool"
    assert "async-pool" in {one.name for one in await client.pools()}
    assert (await client.change_pool("async-pool", maximum=2)).maximum == 2
    assert (await client.delete_pool("async-pool")).desired_size == 0


ASLEEP = {"phase": "ready", "desired": "present"}
STILL = {"phase": "ready", "desired": "hibernated"}


@pytest.mark.parametrize(("state", "error"), [(ASLEEP, ClusterFailed), (STILL, WaitTimeout)])
def test_one_that_does_not_go_to_sleep(url: str, state: dict[str, str], error: type[Exception]) -> None:
    with Client(url) as client:
        known = client.create("slow-sleeper-" + state["desired"], image="bare").model_dump(mode="json")

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.params.get("wait", "hibernated") == "hibernated"
        return httpx.Response(200, json={**known, **state})

    with Client(transport=httpx.MockTransport(answer)) as client, pytest.raises(error):
        client.wait_hibernated(known["name"], timeout_seconds=0)


def test_one_that_is_to_be_reset_is_waited_for(url: str) -> None:
    with Client(url) as client:
        known = client.create("slow-reset", image="bare").model_dump(mode="json")
    answers: list[dict[str, Any]] = [
        {"reset_to": "pristine"},
        {"reset_to": {"checkpoint": "a"}},
        {"reset_to": None, "generation": 3},
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={**known, "phase": "ready", **answers.pop(0)})

    with Client(transport=httpx.MockTransport(answer)) as client:
        assert client.wait_ready("slow-reset").generation == 3
    assert answers == []


def test_orphans_are_listed_and_removed(client: Client) -> None:
    assert [(one.kind, one.name, one.cluster, one.error) for one in client.orphans()] == [
        ("volume", "gone-data", "0123456789ab", None),
        ("volume", "used", None, None),
    ]
    assert [one.error for one in client.remove_orphans()] == [None, "volume is in use"]


def test_all_pages_of_orphans_are_removed() -> None:
    asked: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.params.get("cursor")))
        orphan = {"kind": "volume", "name": f"v{len(asked)}", "cluster": None, "template": None, "why": "x"}
        return httpx.Response(
            200, json={"orphans": [orphan], "next_cursor": "volume/v1/1" if len(asked) == 1 else None}
        )

    with Client(transport=httpx.MockTransport(answer)) as client:
        assert [one.name for one in client.remove_orphans()] == ["v1", "v2"]
    assert asked == [("DELETE", None), ("DELETE", "volume/v1/1")]


async def test_both_clients_agree_on_orphans(client: Client, async_client: AsyncClient) -> None:
    assert await async_client.orphans() == await asyncio.to_thread(client.orphans)
    assert await async_client.remove_orphans() == await asyncio.to_thread(client.remove_orphans)
