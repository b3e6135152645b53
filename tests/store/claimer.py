"""A process that moves clusters from pending to ready until none is left: run by test_several_processes.py.

`python -m tests.store.claimer URL OWNER`: prints the id of each cluster it finished.
"""

from __future__ import annotations

import asyncio
import sys

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import NewEvent
from dayfly.store import Store
from tests.support.databases import KEYS


async def work(url: str, owner: str) -> None:
    store = await Store.open(url, KEYS)
    try:
        with store.watch_work() as watch:
            while await store.leases.seconds_until_due() is not None:
                claims = await store.leases.claim(owner, lease_seconds=60, limit=3)
                for claim in claims:
                    await store.status.set_phase(claim, Phase.PROVISIONING)
                    await store.status.append_event(claim, NewEvent("step.done", owner))
                    await store.status.set_phase(claim, Phase.READY)
                    await store.leases.release(claim, due_in_seconds=None)
                    sys.stdout.write(f"{claim.cluster.id}\n")
                if not claims:
                    await watch.wait(0.05)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
