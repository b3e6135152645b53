"""Several processes on one PostgreSQL database: an API and workers, any of which may stop or die."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, Select, select

from dayfly.client import Client
from dayfly.store import Store
from dayfly.store.db.tables import clusters
from tests.support.postgres import postgres_server
from tests.support.service import Process, Service, running_service

pytestmark = pytest.mark.vm

LEASE_SECONDS = 6
POLL_SECONDS = 3600
"""Between two looks of a worker that is not woken and has no lease to wait for: longer than this test may take."""
GIVE_UP_SECONDS = 60


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    # The accelerator is given: a /dev/kvm that does not work takes a worker up to ten seconds to find out, once.
    settings = {"lease_seconds": str(LEASE_SECONDS), "poll_seconds": str(POLL_SECONDS), "accelerator": "tcg"}
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
        print(f"woken after {(first.at - cluster.created_at).total_seconds():.2f} s")

        stopped, end = await onlooker.holder(workers)
        stopped.signal(signal.SIGTERM)
        dead, early = await onlooker.next_holder(stopped, end, workers)
        print(f"taken over {early:.2f} s before the lease's end after SIGTERM")
        assert early > 0, "the lease was released"
        _, end = await onlooker.holder(workers)
        dead.kill()
        _, early = await onlooker.next_holder(dead, end, workers)
        print(f"taken over {-early:.2f} s after the lease's end after SIGKILL")
        assert early <= 0, "the lease of a dead worker was not waited for"
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

    async def holder(self, workers: list[Process]) -> tuple[Process, datetime]:
        """The holder of the lease, and its end."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while (lease := await self._lease()) is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        holder = next(worker for worker in workers if worker.popen.pid == int(lease.lease_owner.split(":")[1]))
        return holder, lease.lease_expires_at

    async def next_holder(self, before: Process, end: datetime, workers: list[Process]) -> tuple[Process, float]:
        """The next holder of the lease after `before`, and how many seconds before the end of that lease it claimed.

        By the database's clock; `end` is the end of `before`'s lease, which may be renewed.
        """
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            found, until = await self.holder(workers)
            if found is not before:
                return found, (end - (until - timedelta(seconds=LEASE_SECONDS))).total_seconds()
            assert time.monotonic() < deadline
            end = until
            await asyncio.sleep(0.02)

    async def _lease(self) -> Row[Any] | None:
        lease = (clusters.c.lease_owner, clusters.c.lease_expires_at)
        query: Select[Any] = select(*lease).where(clusters.c.lease_owner.is_not(None))
        async with self.store._database.read() as connection:
            row: Row[Any] | None = (await connection.execute(query)).one_or_none()
        return row


async def has_started(worker: Process) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while "started" not in worker.log.read_text():
        assert time.monotonic() < deadline, worker.log.read_text()
        await asyncio.sleep(0.05)
