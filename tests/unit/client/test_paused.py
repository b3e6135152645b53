"""A `ready` cluster with paused machines does not count as ready: for both clients and for `--wait`."""

from __future__ import annotations

import httpx
import pytest

from dayfly.cli import cluster_output
from dayfly.cli.progress.cluster import watch
from dayfly.client import AsyncClient, Client, Cluster, WaitTimeout
from dayfly.schemas.base import FROM_SERVER
from dayfly.schemas.clusters import wait_is_over
from tests.unit.client.test_lifetime import CLUSTER

PAUSED = {**CLUSTER, "paused": True}


class Server:
    """A cluster that is ready and paused at `pauses` looks, then ready; an older server has no field `paused`."""

    def __init__(self, pauses: int) -> None:
        self.pauses = pauses
        self.looks = 0
        self.held: list[str | None] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, json={"events": [], "next_after": 0, "phase": "ready"})
        self.looks += 1
        self.held.append(request.url.params.get("wait"))
        return httpx.Response(200, json=PAUSED if self.looks <= self.pauses else CLUSTER)


def value(fields: dict[str, object]) -> Cluster:
    return Cluster.model_validate(fields, context=FROM_SERVER)


def test_a_wait_goes_on_while_the_machines_are_paused() -> None:
    server = Server(3)
    with Client(transport=httpx.MockTransport(server.answer)) as client:
        assert not client.wait_ready("demo").paused
    assert server.looks == 4


async def test_an_asynchronous_wait_goes_on_too() -> None:
    server = Server(3)
    async with AsyncClient(transport=httpx.MockTransport(server.answer)) as client:
        assert not (await client.wait_ready("demo")).paused
    assert server.looks == 4


def test_a_wait_that_is_over_says_what_is_so() -> None:
    server = Server(10)
    with (
        Client(transport=httpx.MockTransport(server.answer)) as client,
        pytest.raises(WaitTimeout, match=r"demo is paused, not ready, after 0 s"),
    ):
        client.wait_ready("demo", timeout_seconds=0)


def test_the_command_waits_until_they_go_on() -> None:
    server = Server(3)
    with Client(transport=httpx.MockTransport(server.answer)) as client:
        assert not watch(client, value(PAUSED), "ready", 600).paused
    assert server.looks == 4
    assert server.held[-1] == "ready"  # the server answers at the end of the pause


def test_sentences_of_a_paused_cluster() -> None:
    paused = value({**PAUSED, "ready_at": "2026-01-01T00:00:09Z"})
    for sentence in (cluster_output.sentence, cluster_output.state):
        assert sentence(paused) == "demo is not usable at the moment: its VMs are paused"
    assert "ready (paused)" in cluster_output.table([paused])
    assert "ready (paused)" in cluster_output.description(paused)


def test_a_member_of_a_pool_waits_paused_and_is_ready() -> None:
    assert wait_is_over(value({**PAUSED, "purpose": "pool_member"}), "ready")
    assert not wait_is_over(value(PAUSED), "ready")
