"""A process that writes, and perhaps dies: run by test_bell.py.

`ringer.py URL NAME`: creates a cluster NAME, says so, and waits for its input to end. Killed before, it leaves its
socket behind.
"""

from __future__ import annotations

import asyncio
import sys

from dayfly.store import NewCluster, Store
from tests.support.specs import make_spec


async def ring(url: str, name: str) -> None:
    store = await Store.open(url)
    try:
        await store.create_cluster(NewCluster(name, make_spec()))
        sys.stdout.write("created\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(ring(*sys.argv[1:]))
