"""Parallel calls: results in order, and one failure ends the others."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.concurrency import in_parallel


async def test_results_are_in_the_order_of_the_calls() -> None:
    second_ended = asyncio.Event()

    async def first() -> int:
        await second_ended.wait()
        return 1

    async def second() -> int:
        second_ended.set()
        return 2

    assert await in_parallel((first(), second())) == [1, 2]


async def test_the_first_failure_is_raised_as_it_is_and_cancels_the_others() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        await in_parallel((waits(), fails()))
    assert ended == ["cancelled"]
