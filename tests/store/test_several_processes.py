"""Several processes on one PostgreSQL database: every cluster is finished exactly once, also after a worker's death."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.store import Store
from dayfly.store.db.tables import clusters
from tests.store.helpers import admit_all, create, set_back
from tests.support.shell import REPO

CLUSTERS = 200
ABANDONED = 20
PROCESSES = 4
LIMIT_SECONDS = 120.0
CLAIMER = "tests.store.claimer"


async def _run(url: str, owner: str) -> list[str]:
    """The ids of the clusters that one process finished."""
    command = [sys.executable, "-m", CLAIMER, url, owner]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=REPO, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode().split()


async def test_every_cluster_is_finished_exactly_once(server_store: Store, server_url: str) -> None:
    store = server_store
    made = [(await create(store)).id for _ in range(CLUSTERS)]
    await admit_all(store)
    abandoned = await store.leases.claim("dead", lease_seconds=60, limit=ABANDONED)
    assert len(abandoned) == ABANDONED
    for claim in abandoned:
        await set_back(store, claim.cluster.id, clusters.c.lease_expires_at)

    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        runs = [group.create_task(_run(server_url, f"worker-{i}")) for i in range(PROCESSES)]

    finished = Counter(cluster_id for run in runs for cluster_id in run.result())
    assert finished == Counter(made)
    assert sum(bool(run.result()) for run in runs) > 1, "only one process found work"
    ready = await store.clusters.list(phases={Phase.READY}, limit=CLUSTERS)
    assert sorted(cluster.id for cluster in ready.clusters) == sorted(made)
    for cluster_id in made:
        events = [event.message for event in await store.clusters.events(cluster_id) if event.type == "step.done"]
        assert len(events) == 1
