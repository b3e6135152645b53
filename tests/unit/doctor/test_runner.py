"""The runner of trials, with fake trials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from dayfly.client import ApiError, Unreachable
from dayfly.doctor.full.faults import Fault
from dayfly.doctor.full.report import TrialFailed, TrialResult
from dayfly.doctor.full.runner import Runner, Trial
from dayfly.errors import DiskFull
from tests.support.clock import FakeClock

DEAD = Fault("service_exited", "the service ended by itself with exit code 1: boom")


@dataclass
class Bench:
    """A runner, and all its reports."""

    clock: FakeClock = field(default_factory=FakeClock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[str] = field(default_factory=list)
    told: list[TrialResult] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    cleaned: int = 0
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    cleaning: asyncio.Event = field(default_factory=asyncio.Event)

    def began(self, trial: str) -> None:
        self.begun.append(trial)

    def show_progress(self, text: str) -> None:
        raise AssertionError("only trials report progress")

    def ended(self, result: TrialResult) -> None:
        self.told.append(result)

    async def run(self, *trials: Trial, cleaning: Trial | None = None) -> dict[str, TrialResult]:
        async def death() -> Fault:
            await self.dead.wait()
            return DEAD

        async def keep(trial: str, fault: Fault) -> None:
            self.kept.append((trial, fault.code))

        runner = Runner(self.clock, self, self.stop, death, lambda: "a node", keep)
        results = await runner.run(trials, cleaning or trial("clean-up", self.clean))
        assert self.told == list(results)
        return {result.name: result for result in results}

    async def clean(self) -> str:
        self.cleaning.set()
        await asyncio.sleep(0)
        self.cleaned += 1
        return "all is clean"

    async def passes(self) -> str:
        self.clock.advance(2.04)
        return "it holds"

    async def waits(self) -> str:
        self.waiting.set()
        await asyncio.Event().wait()
        return "never"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def trial(name: str, run: Callable[[], Coroutine[Any, Any, str]], *needs: str, limit: float = 60) -> Trial:
    return Trial(name, run, lambda: limit, needs)


def raising(error: Exception) -> Callable[[], Coroutine[Any, Any, str]]:
    async def run() -> str:
        raise error

    return run


async def test_all_hold(bench: Bench) -> None:
    results = await bench.run(trial("one", bench.passes), trial("two", bench.passes, "one"))
    assert list(results.values()) == [
        TrialResult("one", "ok", 2.0, "it holds"),
        TrialResult("two", "ok", 2.0, "it holds"),
        TrialResult("clean-up", "ok", 0.0, "all is clean"),
    ]
    assert bench.begun == ["one", "two", "clean-up"]
    assert bench.kept == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (TrialFailed("clock_wrong", "5 s late"), "clock_wrong", "5 s late"),
        (DiskFull("no space left on device"), "disk_full", "no space left on device"),
        (ApiError("not_ready", 409, "it is pending", {}), "not_ready", "it is pending"),
        (ZeroDivisionError("a defect"), "internal", "ZeroDivisionError: a defect"),
        (TimeoutError("its own"), "internal", "TimeoutError: its own"),
    ],
)
async def test_what_fails_is_told_with_its_code_and_only_what_needs_it_is_not_run(
    bench: Bench, error: Exception, code: str, message: str
) -> None:
    results = await bench.run(
        trial("one", bench.passes),
        trial("two", raising(error), "one"),
        trial("three", bench.passes, "two"),
        trial("four", bench.passes, "three"),
        trial("five", bench.passes, "one"),
    )
    assert results["two"] == TrialResult("two", "failed", 0.0, message, code)
    assert [results[name].verdict for name in ("one", "three", "four", "five")] == ["ok", "not run", "not run", "ok"]
    assert results["three"].detail == "it needs `two`, which is not ok"
    assert results["three"].code == "not_run"
    assert (bench.cleaned, bench.kept) == (1, [("two", code)])


async def test_one_that_takes_too_long_fails_with_what_it_waited_for(bench: Bench) -> None:
    results = await bench.run(trial("one", bench.waits, limit=0))
    assert (results["one"].code, results["one"].detail) == (
        "trial_timeout",
        "not complete after 0 s; it waited for: a node",
    )
    assert bench.cleaned == 1


async def test_interrupted_nothing_more_begins_and_all_is_cleaned_up(bench: Bench) -> None:
    ended = []

    async def interrupted() -> str:
        try:
            bench.stop.set()
            return await bench.waits()
        finally:
            ended.append("its own end")

    results = await bench.run(
        trial("one", interrupted), trial("two", bench.passes), trial("three", bench.passes, "one")
    )
    assert (results["one"].verdict, results["one"].code) == ("failed", "interrupted")
    assert [results[name].detail for name in ("two", "three")] == ["the examination was interrupted"] * 2
    assert (ended, results["clean-up"].verdict, bench.cleaned) == (["its own end"], "ok", 1)


async def test_cancelled_it_cleans_up_to_the_end_and_is_cancelled_then(bench: Bench) -> None:
    running = asyncio.ensure_future(bench.run(trial("one", bench.waits), trial("two", bench.passes)))
    await bench.waiting.wait()
    running.cancel()
    await bench.cleaning.wait()
    running.cancel()  # a second Ctrl-C
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.begun == ["one", "clean-up"]
    assert bench.cleaned == 1


async def test_a_service_that_dies_ends_the_trial_that_waits_for_it(bench: Bench) -> None:
    async def dies() -> str:
        bench.dead.set()
        return await bench.waits()

    results = await bench.run(trial("one", dies), trial("two", bench.passes, "one"))
    assert (results["one"].code, results["one"].detail) == (DEAD.code, DEAD.message)
    assert results["two"].verdict == "not run"
    assert bench.cleaned == 1


async def test_a_service_that_cannot_be_reached_because_it_is_dead_is_told_as_that(bench: Bench) -> None:
    async def meets_it() -> str:
        asyncio.get_running_loop().call_soon(bench.dead.set)
        raise Unreachable("http://127.0.0.1:1", "connection refused")

    results = await bench.run(trial("one", meets_it))
    assert results["one"].code == "service_exited"


async def test_cleaning_up_that_fails_is_a_failed_trial(bench: Bench) -> None:
    cleaning = trial("clean-up", raising(TrialFailed("not_cleaned_up", "the engine keeps volume x")))
    results = await bench.run(trial("one", bench.passes), cleaning=cleaning)
    assert (results["clean-up"].verdict, results["clean-up"].code) == ("failed", "not_cleaned_up")
