"""The crash matrix: whatever befalls clusters, their engine and the processes that work on them, all ends well.

Thousands of schedules, made up at random: kills at any call to the outside, stopped processes that come back as
ghosts, errors of the engine and the database, machines that end, wishes that change, time that runs out. Afterwards
everything is as somebody wanted it, nothing is lost, and nothing is left behind.

A failure is printed with its schedule, as short as it can be, and its seed: `--hypothesis-seed` plays the same again.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

import pytest

from dayfly.store import Store
from tests.scenarios.matrix.playing import THEMES, Played, play_many, play_on
from tests.support.postgres import postgres_server
from tests.support.virtual_postgres import virtual_postgres

SCHEDULES: Final = {"deaths": 1000, "harm": 1200, "everything": 1500, "saved": 1500}
"""How many of each theme: at least 5000 in all."""
ON_POSTGRES: Final = {"deaths": 60, "harm": 60, "everything": 120, "saved": 60}
PROCESSES: Final = 2
PARTS: Final = 2
"""Each theme is played in so many parts, so that the processes end at about the same time."""


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The run's own, unless one was asked for."""
    asked = pytestconfig.getoption("--hypothesis-seed")
    return int(asked) if asked is not None and str(asked).isdigit() else secrets.randbits(32)


def test_every_schedule_ends_well(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    played = list(_in_processes(seed))
    with capsys.disabled():
        counts = ", ".join(f"{sum(p.schedules for p in played if p.theme == theme)} {theme}" for theme in THEMES)
        print(f"\ncrash matrix, seed {seed}: {counts}")
    failures = [part.failure for part in played if part.failure is not None]
    assert not failures, "\n\n".join(failures)
    assert sum(part.schedules for part in played) >= 5000


def _in_processes(seed: int) -> Iterator[Played]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        parts = [
            pool.submit(play_many, theme, SCHEDULES[theme] // PARTS, seed + part)
            for theme in reversed(THEMES)
            for part in range(PARTS)
        ]
        for part in as_completed(parts):
            yield part.result()


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[asyncio.Runner, Store]]:
    with postgres_server() as server, virtual_postgres(server) as found:
        yield found


@pytest.mark.parametrize("theme", THEMES)
def test_the_same_on_postgresql(postgres: tuple[asyncio.Runner, Store], theme: str, seed: int) -> None:
    played = play_on(*postgres, theme, ON_POSTGRES[theme], seed, shrink=False)
    assert played.failure is None, played.failure
    assert played.schedules >= ON_POSTGRES[theme]
