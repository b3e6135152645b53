"""A process that admits one cluster at a time until the host is full: run by test_admission.py.

`python -m tests.store.admitter URL COUNT`: the host has room for so many clusters; prints the id of
each that it admitted.
"""

from __future__ import annotations

import asyncio
import sys

from dayfly.domain.scheduling.fair_queue import Queue, Waiting, admissible
from dayfly.store import Store
from tests.support.databases import KEYS


async def admit(url: str, count: int) -> None:
    def decide(queue: Queue) -> tuple[Waiting, ...]:
        needs = queue.waiting[0].needs if queue.waiting else queue.in_use
        offered = needs
        for _ in range(count - 1):
            offered += needs
        return admissible(queue, offered)[:1]

    store = await Store.open(url, KEYS)
    try:
        while admitted := await store.admission.admit(decide):
            sys.stdout.write("".join(f"{cluster_id}\n" for cluster_id in admitted))
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(admit(sys.argv[1], int(sys.argv[2])))
