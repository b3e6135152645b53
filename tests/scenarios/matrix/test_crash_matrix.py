"""The crash matrix: after any faults of clusters, engine and processes, all clusters reach their desired state.

Thousands of random schedules: kills at any call to the outside, stopped processes that continue as ghosts, errors of
the engine and the database, machines that end, updates, timeouts. Afterwards all clusters are in their desired state,
nothing is lost, and no orphan remains.

A failure is printed with its shrunk schedule and its seed: `--hypothesis-seed` repeats it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Final

import pytest

from dayfly.store import Store
from tests.scenarios.matrix.playing import THEMES, play_many, play_on
from tests.support.postgres import postgres_server
from tests.support.virtual_postgres import virtual_postgres

SCHEDULES: Final = {"deaths": 250, "harm": 300, "everything": 375, "saved": 375}
"""How many of each theme in a run; `--long` plays more, at least 5000 in all."""
ON_POSTGRES: Final = {"deaths": 15, "harm": 15, "everything": 30, "saved": 15}
LONG_TIMES: Final = 8
LONGEST_FIRST: Final = tuple(reversed(THEMES))
PARTS: Final = 5
"""Each theme is played in so many parts, for processes that share them (pytest -n) to end at about the same time."""


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The test's own seed, unless the caller gave one."""
    asked = pytestconfig.getoption("--hypothesis-seed")
    return int(asked) if asked is not None and str(asked).isdigit() else secrets.randbits(32)


@pytest.fixture
def times(long: bool) -> int:
    return LONG_TIMES if long else 1


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[asyncio.Runner, Store]]:
    with postgres_server() as server, virtual_postgres(server) as found:
        yield found


@pytest.mark.parametrize("theme", LONGEST_FIRST)
def test_the_same_on_postgresql(postgres: tuple[asyncio.Runner, Store], theme: str, seed: int, times: int) -> None:
    count = ON_POSTGRES[theme] * times
    played = play_on(*postgres, theme, count, seed, shrink=False)
    assert played.failure is None, played.failure
    assert played.schedules >= count


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("theme", LONGEST_FIRST)
def test_every_schedule_ends_well(theme: str, part: int, seed: int, times: int) -> None:
    """Part 0 of a theme is what `--hypothesis-seed` with the seed of a failure plays again."""
    count = SCHEDULES[theme] // PARTS * times
    played = play_many(theme, count, seed + part)
    assert played.failure is None, played.failure
    assert played.schedules >= count


def test_there_are_enough_of_them() -> None:
    assert sum(SCHEDULES[theme] // PARTS * PARTS for theme in THEMES) * LONG_TIMES >= 5000
