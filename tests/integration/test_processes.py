"""Several processes on one PostgreSQL database: an API and workers, of which any may be told to stop, or die."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from dayfly.client import Client
from dayfly.store import Store
from dayfly.store.db.tables import clusters
from tests.support.postgres import postgres_server
from tests.support.service import Process, Service, running_service

pytestmark = pytest.mark.vm

LEASE_SECONDS = 6
HANDOVER_SECONDS = 1.0
"""From SIGTERM until another worker has the cluster: far less than a lease, and than the time between two looks."""
WAKE_SECONDS = 2.0
"""From a request until a worker of another process begins: less than the time between two looks."""
GIVE_UP_SECONDS = 60


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    # The accelerator is given: a /dev/kvm that does not work takes a worker up to ten seconds to find out, once.
    settings = {"lease_seconds": str(LEASE_SECONDS), "accelerator": "tcg"}
    commands = ("api", "worker", "worker", "worker")
    with (
        postgres_server() as server,
        server.database() as url,
        running_service(tmp_path, commands=commands, database_url=url, **settings) as service,
    ):
        yield service


@pytest.fixture
async def onlooker(service: Service) -> AsyncIterator[Onlooker]:
    store = await Store.open(service.environment["DAYFLY_DATABASE_URL"])
    yield Onlooker(store)
    await store.close()


async def test_a_cluster_is_handed_on_at_once_by_who_is_stopped_and_after_a_lease_by_who_dies(
    service: Service, onlooker: Onlooker
) -> None:
    _api, *workers = service.processes
    for worker in workers:
        await has_started(worker)
    with Client(service.url) as client:
        cluster = client.create("relay", image="bare")
        boot = next(e for e in client.follow(cluster.id) if e.type == "step.started" and e.step == "boot")
        first = next(e for e in client.all_events(cluster.id) if e.type == "step.started")
        woken = (first.at - cluster.created_at).total_seconds()

        stopped = await onlooker.holder(workers)
        stopped.signal(signal.SIGTERM)
        dead, handover = await onlooker.next_holder(stopped, workers)
        dead.kill()
        _, wait = await onlooker.next_holder(dead, workers)
        print(f"woken after {woken:.2f} s; taken over {handover:.2f} s after SIGTERM, {wait:.2f} s after SIGKILL")
        assert woken < WAKE_SECONDS, "the workers slept on"
        assert handover < HANDOVER_SECONDS
        assert 0.5 * LEASE_SECONDS < wait < LEASE_SECONDS + HANDOVER_SECONDS
        assert stopped.wait() == 0
        again = next(e for e in client.follow(cluster.id, after=boot.id) if e.type == "step.started" and not e.node)
        assert again.step == "sandbox", "from the first step on, by looking"

        assert client.wait_ready("relay", timeout_seconds=300).error is None
        assert service.on_node("relay", "node01", "hostname") == "node01"
        client.delete("relay")
        client.wait_deleted("relay")
        assert [e.message for e in client.all_events(cluster.id)].count("provisioning → ready") == 1
    assert service.objects() == set()
    assert "Traceback" not in service.logs()


@dataclass(frozen=True)
class Onlooker:
    """Sees in the database who holds the only cluster's lease."""

    store: Store

    async def holder(self, workers: list[Process]) -> Process:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while (pid := await self._owner()) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        return next(worker for worker in workers if worker.popen.pid == pid)

    async def next_holder(self, before: Process, workers: list[Process]) -> tuple[Process, float]:
        """Who has it after `before`, and the seconds until then."""
        began = time.monotonic()
        while (found := await self.holder(workers)) is before:
            assert time.monotonic() < began + GIVE_UP_SECONDS
            await asyncio.sleep(0.02)
        return found, time.monotonic() - began

    async def _owner(self) -> int | None:
        async with self.store._database.read() as connection:
            owner = (await connection.execute(select(clusters.c.lease_owner))).scalar_one_or_none()
        return None if owner is None else int(owner.split(":")[1])


async def has_started(worker: Process) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while "started" not in worker.log.read_text():
        assert time.monotonic() < deadline, worker.log.read_text()
        await asyncio.sleep(0.05)
