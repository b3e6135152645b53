"""The cache: complete entries only, made once, never removed during a bake."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images.cache import Cache, Make
from tests.support.clock import FakeClock


def key(number: int) -> str:
    return f"{number:x}".ljust(64, "0")


def writes(text: str) -> Make:
    async def make(folder: Path) -> None:
        (folder / "result").write_text(text)

    return make


async def never(_: Path) -> None:
    raise AssertionError("it was there: nothing is to be made")


def entries(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"locks"}


async def test_what_was_made_is_found_again(tmp_path: Path) -> None:
    async with Cache(tmp_path, FakeClock()) as cache:
        made = await cache.get("base", key(1), writes("one"))
        assert (made / "result").read_text() == "one"
    async with Cache(tmp_path, FakeClock()) as cache:
        assert await cache.get("base", key(1), never) == made


async def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    async with Cache(tmp_path / "cache", FakeClock()):
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


async def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    async def make(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise BakeFailed("no")

    async with Cache(tmp_path, FakeClock()) as cache:
        with pytest.raises(BakeFailed):
            await cache.get("base", key(1), make)
        assert entries(tmp_path) == set()
        assert (await cache.get("base", key(1), writes("then"))).is_dir()


async def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def make(folder: Path) -> None:
        (folder / "half").write_text("x")
        started.set()
        await asyncio.Event().wait()

    async with Cache(tmp_path, FakeClock()) as cache, asyncio.TaskGroup() as group:
        task = group.create_task(cache.get("base", key(1), make))
        await started.wait()
        assert len(entries(tmp_path)) == 1
        task.cancel()
    assert entries(tmp_path) == set()


async def test_what_a_killed_bake_left_is_removed_and_what_a_living_one_makes_is_not(tmp_path: Path) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def make(folder: Path) -> None:
        started.set()
        await go_on.wait()
        (folder / "result").write_text("whole")

    leftover = tmp_path / f".new-base-{key(9)[:32]}.x1y2z3"
    leftover.mkdir(parents=True)
    async with Cache(tmp_path, FakeClock()) as living, asyncio.TaskGroup() as group:
        assert not leftover.exists()
        task = group.create_task(living.get("base", key(1), make))
        await started.wait()
        async with Cache(tmp_path, FakeClock()):
            assert len(entries(tmp_path)) == 1
        go_on.set()
    assert (task.result() / "result").read_text() == "whole"


async def test_two_bakes_make_a_thing_once(tmp_path: Path) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    waited: list[str] = []

    async def make(folder: Path) -> None:
        started.set()
        await go_on.wait()
        (folder / "result").write_text("once")

    def on_wait() -> None:
        waited.append("second")
        go_on.set()

    async with Cache(tmp_path, FakeClock()) as one, Cache(tmp_path, FakeClock()) as two, asyncio.TaskGroup() as group:
        first = group.create_task(one.get("base", key(1), make))
        await started.wait()
        second = group.create_task(two.get("base", key(1), never, on_wait))
    assert first.result() == second.result()
    assert waited == ["second"]


async def test_the_newest_two_versions_stay(tmp_path: Path) -> None:
    for number in range(1, 5):
        async with Cache(tmp_path, FakeClock()) as cache:
            made = await cache.get("base", key(number), writes(str(number)))
            await cache.get("base-two", key(number), writes("of another phase"))
        os.utime(made, (number, number))
    assert {name for name in entries(tmp_path) if name.startswith("base-") and "two" not in name} == {
        f"base-{key(3)[:32]}",
        f"base-{key(4)[:32]}",
    }
    assert len([name for name in entries(tmp_path) if name.startswith("base-two-")]) == 2


async def test_what_a_bake_uses_is_not_pruned(tmp_path: Path) -> None:
    async with Cache(tmp_path, FakeClock()) as using:
        used = await using.get("base", key(1), writes("used"))
        os.utime(used, (1, 1))
        async with Cache(tmp_path, FakeClock()) as other:
            for number in (2, 3, 4):
                await other.get("base", key(number), writes("newer"))
        assert (used / "result").read_text() == "used"


async def test_scratch_is_gone_at_the_end_and_safe_until_then(tmp_path: Path) -> None:
    async with Cache(tmp_path, FakeClock()) as cache:
        async with cache.scratch() as folder:
            (folder / "file").write_text("x")
            async with Cache(tmp_path, FakeClock()):
                assert (folder / "file").exists()
        assert entries(tmp_path) == set()


async def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        BakeFailed, match=r"the cache .*/file/cache cannot be used \(Not a directory\).*DAYFLY_CACHE_DIR"
    ):
        async with Cache(tmp_path / "file" / "cache", FakeClock()):
            pass
