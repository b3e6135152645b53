"""The crash matrix: whatever befalls clusters, their engine and the processes that work on them, all ends well.

Thousands of schedules, made up at random: kills at any call to the outside, stopped processes that come back as
ghosts, errors of the engine and the database, machines that end, wishes that change, time that runs out. Afterwards
everything is as somebody wanted it, nothing is lost, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from dayfly.store import Store
from tests.scenarios.matrix.invariants import check
from tests.scenarios.matrix.schedule import DEATHS, HARM, WISHES, Schedule, creates, plain_creates, schedules
from tests.scenarios.matrix.stage import Stage
from tests.support.inline_store import inline_store
from tests.support.virtual_time import VirtualLoop

DEFECTS: list[object] = []


@pytest.fixture(autouse=True)
def defects() -> Iterator[None]:
    """What the service logs as an error is a defect of its own; all other lines are dropped unwritten."""

    def collect(logger: object, method: str, entry: dict[str, object]) -> dict[str, object]:
        DEFECTS.append(entry)
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.format_exc_info, collect],
        wrapper_class=structlog.make_filtering_bound_logger(40),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
def runner() -> Iterator[tuple[asyncio.Runner, Store]]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, inline_store() as store:
        yield runner, store


async def play(store: Store, schedule: Schedule) -> None:
    DEFECTS.clear()
    stage = Stage(store, schedule)
    try:
        async with stage.played():
            await check(stage)
            assert not DEFECTS
    except BaseException:
        note("\n".join(["its last calls:", *stage.traffic.trace, f"defects: {DEFECTS}"]))
        raise


THEMES = {
    "deaths": (schedules(*DEATHS, plain_creates, most=6, first=plain_creates), 1500),
    "harm": (schedules(*DEATHS, *HARM, most=8, first=plain_creates), 1500),
    "everything": (schedules(*DEATHS, *HARM, *WISHES, most=12, first=creates), 2100),
}


@pytest.mark.parametrize("theme", THEMES)
def test_every_schedule_ends_well(theme: str, runner: tuple[asyncio.Runner, Store], capsys: pytest.CaptureFixture[str]) -> None:
    strategy, count = THEMES[theme]
    played = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def every_schedule(schedule: Schedule) -> None:
        nonlocal played
        played += 1
        loop, store = runner
        loop.run(play(store, schedule))

    every_schedule()
    assert played >= count
