"""Turns at writing: one at a time, nobody twice in a row while somebody waits, and none lost with whoever had it."""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dayfly.store.turns import Turns

GIVE_UP_SECONDS = 10


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Turns]:
    turns = Turns(tmp_path)
    yield turns
    turns.close()


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Turns]:
    """Of another process: locks belong to whoever opened the files."""
    turns = Turns(tmp_path)
    yield turns
    turns.close()


async def write(turns: Turns, name: str, order: list[str], times: int = 1) -> None:
    for _ in range(times):
        async with turns.turn():
            order.append(name)
            await asyncio.sleep(0.002)
            order.append(name)


async def test_one_at_a_time(ours: Turns, theirs: Turns) -> None:
    order: list[str] = []
    async with asyncio.timeout(GIVE_UP_SECONDS):
        await asyncio.gather(write(ours, "ours", order, 20), write(theirs, "theirs", order, 20))
    assert len(order) == 80
    assert all(begin == end for begin, end in zip(order[::2], order[1::2], strict=True))


async def test_who_waits_goes_before_who_writes_again(ours: Turns, theirs: Turns, tmp_path: Path) -> None:
    order: list[str] = []
    async with asyncio.timeout(GIVE_UP_SECONDS):
        async with ours.turn():
            waiting = asyncio.create_task(write(theirs, "theirs", order))
            await asyncio.to_thread(_until_locked, tmp_path)
        await write(ours, "ours", order)
        await waiting
    assert order == ["theirs", "theirs", "ours", "ours"]


async def test_a_turn_that_nobody_waits_for_any_more_is_not_kept(ours: Turns, theirs: Turns, tmp_path: Path) -> None:
    async with ours.turn():
        waiting = asyncio.create_task(write(theirs, "theirs", []))
        await asyncio.to_thread(_until_locked, tmp_path)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
    order: list[str] = []
    async with asyncio.timeout(GIVE_UP_SECONDS):
        await write(ours, "ours", order)
        await write(theirs, "theirs", order)
    assert order == ["ours", "ours", "theirs", "theirs"]


async def test_the_turn_of_a_process_that_ended_is_free(ours: Turns, tmp_path: Path) -> None:
    dying = Turns(tmp_path)
    assert dying._take_at_once()
    dying.close()
    async with asyncio.timeout(GIVE_UP_SECONDS):
        await write(ours, "ours", [])


def test_files_are_for_their_owner_only(ours: Turns, tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def _until_locked(folder: Path) -> None:
    """Until somebody is next: a look from a third process."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    with (folder / "next.lock").open("rb") as file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(0.001)
    raise TimeoutError("nobody waits")
