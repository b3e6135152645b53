"""A process that keeps a database open until its input ends or it is killed: run by test_sqlite_file.py.

`python -m tests.store.holder URL`: opens the store and prints a line.
"""

from __future__ import annotations

import asyncio
import sys

from dayfly.store import Store
from tests.support.databases import KEYS


async def hold(url: str) -> None:
    store = await Store.open(url, KEYS)
    try:
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1]))
