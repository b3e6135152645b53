"""SQLite serves one process: the lock on its file, and the queue of writers in the process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dayfly.errors import DatabaseInUse, DatabaseUnavailable
from dayfly.store import Store
from tests.store.helpers import create
from tests.support.shell import REPO

HOLDER = "tests.store.holder"
GIVE_UP_SECONDS = 30
WRITERS = 20


@asynccontextmanager
async def holder(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has the database open; killed at the end."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", HOLDER, url]
    process = await asyncio.create_subprocess_exec(*command, cwd=REPO, stdin=pipe, stdout=pipe)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(GIVE_UP_SECONDS):
            assert await process.stdout.readline() == b"open\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite+aiosqlite:///"))


async def test_a_second_process_is_refused_and_the_dead_ones_lock_is_free(sqlite_url: str) -> None:
    async with holder(sqlite_url) as process:
        with pytest.raises(DatabaseInUse) as refused:
            await Store.open(sqlite_url)
        for named in (str(file_of(sqlite_url)), f"another process ({process.pid})", "PostgreSQL"):
            assert named in refused.value.message
        assert "\n" not in refused.value.message
        process.send_signal(signal.SIGKILL)
        await process.wait()
        store = await Store.open(sqlite_url)
        try:
            assert (await create(store, "demo")).name == "demo"
        finally:
            await store.close()


async def test_who_is_refused_leaves_the_lock_with_its_holder(sqlite_url: str) -> None:
    store = await Store.open(sqlite_url)
    try:
        for _ in range(2):
            with pytest.raises(DatabaseInUse, match=f"another process \\({os.getpid()}\\)"):
                await Store.open(sqlite_url)
    finally:
        await store.close()
    await (await Store.open(sqlite_url)).close()


async def test_a_symbolic_link_leads_to_the_same_lock(sqlite_url: str, tmp_path: Path) -> None:
    store = await Store.open(sqlite_url)
    try:
        (tmp_path / "link.db").symlink_to(file_of(sqlite_url))
        with pytest.raises(DatabaseInUse):
            await Store.open(f"sqlite+aiosqlite:///{tmp_path}/link.db")
    finally:
        await store.close()


async def test_a_store_that_could_not_be_opened_gives_its_lock_back(sqlite_url: str) -> None:
    file = file_of(sqlite_url)
    file.parent.mkdir()
    file.write_bytes(b"something else entirely" * 100)
    with pytest.raises(DatabaseUnavailable):
        await Store.open(sqlite_url)
    file.unlink()
    await (await Store.open(sqlite_url)).close()


async def test_writers_take_turns_in_their_order(sqlite_url: str) -> None:
    store = await Store.open(sqlite_url)
    order: list[int] = []

    async def write(number: int) -> None:
        async with store._database.write():
            order.append(number)

    try:
        async with asyncio.timeout(GIVE_UP_SECONDS), asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(write(number))
    finally:
        await store.close()
    assert order == list(range(WRITERS))
