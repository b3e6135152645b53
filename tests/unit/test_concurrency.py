"""Parallel calls: results in order, and one failure ends the others; calls in order of needs; a guard ends work."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.concurrency import first_result, in_order_of_needs, in_parallel


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


async def test_the_result_is_that_of_the_first_to_end_and_the_other_is_cancelled() -> None:
    ended: list[str] = []

    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")
        return "waited"

    async def ends() -> str:
        await asyncio.sleep(0)
        return "ended"

    assert await first_result(ends(), waits()) == "ended"
    assert await first_result(waits(), ends()) == "ended"
    assert ended == ["cancelled", "cancelled"]


async def test_of_work_and_guard_that_end_together_the_work_counts() -> None:
    async def ends(word: str) -> str:
        return word

    assert await first_result(ends("work"), ends("guard")) == "work"


async def test_a_call_begins_when_those_that_it_needs_have_ended() -> None:
    began: list[str] = []
    go, both_began = asyncio.Event(), asyncio.Event()

    async def call(name: str) -> None:
        began.append(name)
        if len(began) == 2:
            both_began.set()
        if name == "tea":
            await go.wait()

    running = asyncio.ensure_future(in_order_of_needs({"milk": ["tea", "cup"], "lemon": [], "tea": []}, call))
    await both_began.wait()
    assert sorted(began) == ["lemon", "tea"]
    go.set()
    await running
    assert began[-1] == "milk"


async def test_no_call_begins_after_one_that_it_needs_has_failed() -> None:
    began: list[str] = []

    async def call(name: str) -> None:
        began.append(name)
        raise ValueError(name)

    with pytest.raises(ValueError, match="tea"):
        await in_order_of_needs({"tea": [], "milk": ["tea"]}, call)
    assert began == ["tea"]
