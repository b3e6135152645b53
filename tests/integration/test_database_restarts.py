"""A database server is killed while clusters are created: none is lost, none is created twice.

Real processes (an API, two workers) on a real PostgreSQL with a fake engine, so that twenty clusters can be created at
once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dayfly.client import ApiError, Client
from tests.bench.fleet import Fleet, fleet
from tests.bench.shared_engine import RemoteEngine
from tests.support.postgres import postgres_server

CLUSTERS = 20
KILLED_AFTER = 6
AWAY_SECONDS = 1.0
LEASE_SECONDS = "3"
"""The delay: a worker cannot release its leases without the database."""
GIVE_UP_SECONDS = 60.0


def test_a_database_is_killed_while_twenty_clusters_are_made(tmp_path: Path) -> None:
    with (
        postgres_server() as server,
        server.database() as url,
        fleet(tmp_path, url, lease_seconds=LEASE_SECONDS) as service,
    ):
        accepted = threading.Semaphore(0)
        with ThreadPoolExecutor(CLUSTERS) as callers:
            made = [callers.submit(create, service, number, accepted) for number in range(CLUSTERS)]
            for _ in range(KILLED_AFTER):
                assert accepted.acquire(timeout=GIVE_UP_SECONDS)
            server.kill()
            time.sleep(AWAY_SECONDS)
            server.start()
            ids = [one.result() for one in made]
        assert len(set(ids)) == CLUSTERS
        with Client(f"http://127.0.0.1:{service.port}") as client:
            for cluster in ids:
                assert client.wait_ready(cluster, timeout_seconds=GIVE_UP_SECONDS).phase == "ready"
            listed = list(client.list())
            assert sorted(cluster.id for cluster in listed) == sorted(ids), "none lost, none doubled"
            assert Counter(cluster.name for cluster in listed) == Counter(f"c{number}" for number in range(CLUSTERS))
            for cluster in ids:
                phases = [event.message for event in client.all_events(cluster) if event.type == "phase"]
                assert phases == ["pending → provisioning", "provisioning → ready"], "each was made once"
        assert asyncio.run(containers(service, tmp_path)) == Counter(dict.fromkeys(ids, 3))
        for name in ("api", "worker1", "worker2"):
            assert "defect" not in (tmp_path / f"{name}.log").read_text()


def create(service: Fleet, number: int, accepted: threading.Semaphore) -> str:
    """Request one cluster with one key, repeatedly until an answer; the cluster's id."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    with Client(f"http://127.0.0.1:{service.port}") as client:
        while True:
            try:
                made = client.create(f"c{number}", image="bare", idempotency_key=f"key-{number}")
            except ApiError as error:
                if error.code != "database_unavailable" or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                accepted.release()
                return made.id


async def containers(service: Fleet, folder: Path) -> Counter[str]:
    """How many containers of each cluster the engine has."""
    engine = await RemoteEngine.connect(folder / "engine.sock")
    try:
        return Counter(
            resource.cluster_id for resource in await engine.list_resources() if resource.kind == "container"
        )
    finally:
        await engine.close()
