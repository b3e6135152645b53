"""Plays many schedules in turn, in one process and on one store. Not here: schedules and playing one of them
(schedule.py, stage.py).
"""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine as hypothesis_engine
from hypothesis.strategies import SearchStrategy

from dayfly.store import Store
from tests.scenarios.matrix import saved_doing  # noqa: F401 - teaches do() its deeds
from tests.scenarios.matrix.doing import do
from tests.scenarios.matrix.invariants import check
from tests.scenarios.matrix.saved_deeds import SAVED, SAVED_HARM, simple_creates, templates
from tests.scenarios.matrix.schedule import DEATHS, HARM, REQUESTS, Schedule, creates, plain_creates, schedules
from tests.scenarios.matrix.stage import Stage
from tests.support.inline_store import inline_store
from tests.support.virtual_time import VirtualLoop

_ERROR: Final = 40

# Report a failure within the stage's time limit, even if it could be shrunk further.
hypothesis_engine.MAX_SHRINKING_SECONDS = 60

THEMES: Final[dict[str, SearchStrategy[Schedule]]] = {
    "deaths": schedules(*DEATHS, plain_creates, most=6, first=plain_creates),
    "harm": schedules(*DEATHS, *HARM, most=8, first=plain_creates),
    "saved": schedules(*DEATHS, *SAVED, *SAVED_HARM, most=12, first=st.one_of(templates, simple_creates)),
    "everything": schedules(*DEATHS, *HARM, *REQUESTS, most=12, first=creates),
}


@dataclass(frozen=True)
class Played:
    """How many schedules of a theme were played; the first that did not end well, shrunk, as text."""

    theme: str
    schedules: int
    failure: str | None = None


def play_many(theme: str, count: int, seed_: int) -> Played:
    """`count` schedules in virtual time, on SQLite in memory."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, inline_store() as store:
        # Freeze the present objects, so that garbage collection skips them.
        gc.collect()
        gc.freeze()
        return play_on(runner, store, theme, count, seed_)


def play_on(runner: asyncio.Runner, store: Store, theme: str, count: int, seed_: int, *, shrink: bool = True) -> Played:
    """`count` schedules on a given store, in the runner's loop."""
    played = 0

    @seed(seed_)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(schedule=THEMES[theme])
    def every_schedule(schedule: Schedule) -> None:
        nonlocal played
        played += 1
        runner.run(_play(store, schedule))

    try:
        every_schedule()
    except Exception as error:  # the calling process reports any failure
        return Played(theme, played, f"{theme}, seed {seed_}:\n" + "".join(traceback.format_exception(error)))
    return Played(theme, played)


async def _play(store: Store, schedule: Schedule) -> None:
    stage = Stage(store, schedule)
    with _defects() as defects:
        try:
            async with stage.played(do):
                await check(stage)
            assert not defects, "the service met a defect of its own"
        except Exception:
            note("\n".join(["the last calls:", *stage.traffic.trace, *map(str, defects[:2])]))
            raise


@contextmanager
def _defects() -> Iterator[list[object]]:
    """Errors in the service's log; all other lines are dropped."""
    found: list[object] = []

    def collect(logger: object, method: str, entry: MutableMapping[str, object]) -> NoReturn:
        found.append(entry)
        raise structlog.DropEvent

    structlog.configure(
        processors=[structlog.processors.format_exc_info, collect],
        wrapper_class=structlog.make_filtering_bound_logger(_ERROR),
    )
    try:
        yield found
    finally:
        structlog.reset_defaults()
