"""SQLite's stand-in for LISTEN: processes on one file hear of each other's commits, whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dayfly.store import Store
from dayfly.store.bell import Bell
from dayfly.store.wakeups import Wakeups
from tests.store.helpers import create

SOON = 30.0
QUIET = 0.05
ROOT = Path(__file__).parents[2]
RINGER = Path(__file__).with_name("ringer.py")


def folder_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite+aiosqlite:///") + ".wake")


@asynccontextmanager
async def ringer(url: str, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has created a cluster."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        RINGER,
        url,
        name,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"created\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_another_process_is_heard(sqlite_url: str) -> None:
    store = await Store.open(sqlite_url)
    try:
        with store.watch_queue() as queue, store.watch("0123456789ab") as another:
            async with ringer(sqlite_url, "demo"):
                assert await queue.wait(SOON)
                assert (await store.get_cluster("demo")).name == "demo"
                assert not await another.wait(QUIET)
    finally:
        await store.close()


async def test_of_a_process_that_died_nothing_is_left_after_the_next_commit(sqlite_url: str) -> None:
    store = await Store.open(sqlite_url)
    folder = folder_of(sqlite_url)
    try:
        async with ringer(sqlite_url, "first") as process:
            assert len(list(folder.iterdir())) == 2
            process.kill()
            await process.wait()
        assert len(list(folder.iterdir())) == 2
        await create(store)
        assert len(list(folder.iterdir())) == 1
    finally:
        await store.close()
    assert list(folder.iterdir()) == []


async def test_the_sockets_are_for_their_owner_only(sqlite_url: str) -> None:
    store = await Store.open(sqlite_url)
    try:
        assert stat.S_IMODE(folder_of(sqlite_url).stat().st_mode) == 0o700
    finally:
        await store.close()


async def test_a_path_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / ('x' * 120) / ('y' * 120)}/dayfly.db"
    here, there = await Store.open(url), await Store.open(url)
    try:
        with here.watch_queue() as queue:
            await create(there)
            assert await queue.wait(SOON)
    finally:
        await here.close()
        await there.close()


async def test_who_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    folder = tmp_path / "wake"
    bell = Bell(folder, Wakeups())
    bell.open()
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        deaf.bind(str(folder / "deaf.sock"))
        for _ in range(2000):
            bell.ring({f"{i:012d}" for i in range(1000)})
        assert (folder / "deaf.sock").exists(), "it is alive, if slow"
    finally:
        deaf.close()
        bell.close()


async def test_who_hears_too_late_to_hear_all_is_told_to_look(tmp_path: Path) -> None:
    heard = Wakeups()
    ours, theirs = Bell(tmp_path / "wake", Wakeups()), Bell(tmp_path / "wake", heard)
    ours.open()
    theirs.open()
    try:
        with heard.watch("last") as last:
            for _ in range(5000):  # without a pause in which they could be read
                ours.ring({"first"})
            ours.ring({"last"})
            assert await last.wait(SOON)
    finally:
        ours.close()
        theirs.close()


async def test_many_topics_are_all_heard(tmp_path: Path) -> None:
    heard = Wakeups()
    ours, theirs = Bell(tmp_path / "wake", Wakeups()), Bell(tmp_path / "wake", heard)
    topics = {f"{i:012d}" for i in range(2000)}
    ours.open()
    theirs.open()
    try:
        with heard.watch(min(topics)) as first, heard.watch(max(topics)) as last:
            ours.ring(topics)
            assert await first.wait(SOON)
            assert await last.wait(SOON)
    finally:
        ours.close()
        theirs.close()


async def test_a_bell_that_is_closed_is_quiet(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "wake", Wakeups())
    bell.ring({"work"})
    bell.open()
    bell.close()
    bell.close()
    bell.ring({"work"})
    assert list((tmp_path / "wake").iterdir()) == []


@pytest.mark.parametrize("stranger", ["readme.txt", "folder.sock"])
async def test_what_is_none_of_ours_is_left_alone(tmp_path: Path, stranger: str) -> None:
    bell = Bell(tmp_path / "wake", Wakeups())
    bell.open()
    (tmp_path / "wake" / stranger).write_text("kept")
    try:
        bell.ring({"work"})
        assert (tmp_path / "wake" / stranger).read_text() == "kept"
    finally:
        bell.close()
