"""Sums of usage: exact, however a time is split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import pytest

from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.usage import DAY_SECONDS, Grouping, UsageGroup, UsageInterval, UsageReport, UsageSum

ONE = Resources(2, 1000, 30)


def interval(begin: int, end: int | None, team: str = "red", principal: str = "me", **labels: str) -> UsageInterval:
    return UsageInterval(team, principal, labels, ONE, begin, end)


def report(grouping: Grouping, since: int, until: int, *intervals: UsageInterval) -> UsageReport:
    made = UsageReport(grouping, since, until)
    made.add(intervals)
    return made


def test_an_interval_is_multiplied_by_its_seconds() -> None:
    found = report(Grouping(), 0, 1000, interval(100, 160))
    assert found.total == UsageSum(120, 60_000, 1800)
    assert found.groups() == [(UsageGroup(), found.total)]


@pytest.mark.parametrize(("begin", "end"), [(0, 10), (90, 100), (20, 20), (200, 300)])
def test_outside_of_the_period_nothing_counts(begin: int, end: int) -> None:
    found = report(Grouping(), 10, 90, interval(begin, end))
    assert found.total == UsageSum()
    assert found.groups() == []


def test_what_lasts_counts_until_the_end_of_the_period() -> None:
    assert report(Grouping(), 50, 80, interval(0, None)).total.vcpu_seconds == 60
    assert report(Grouping(), 50, 80, interval(100, None)).total.vcpu_seconds == 0


def test_days_are_split_at_midnight() -> None:
    midnight = 20 * DAY_SECONDS
    found = report(Grouping(day=True), 0, midnight * 2, interval(midnight - 10, midnight + DAY_SECONDS + 5))
    days = [(group.day, used.vcpu_seconds // 2) for group, used in found.groups()]
    assert days == [(date(1970, 1, 20), 10), (date(1970, 1, 21), DAY_SECONDS), (date(1970, 1, 22), 5)]


def test_groups_are_ordered_and_a_missing_label_is_a_group() -> None:
    intervals = [interval(0, 5, "red", ci="unit"), interval(0, 7, "blue"), interval(0, 1, "red"), interval(0, 1, "red")]
    found = report(Grouping(team=True, labels=("ci", "os")), 0, 10, *intervals)
    shown = [(group.team, group.labels, used.vcpu_seconds) for group, used in found.groups()]
    assert shown == [("blue", (None, None), 14), ("red", (None, None), 4), ("red", ("unit", None), 10)]


def cut(moments: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(moments))


@pytest.mark.parametrize("seed", range(20))
def test_parts_add_up_however_they_are_made(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test
    last = 10 * DAY_SECONDS
    intervals = [
        interval(
            begin := chance.randrange(last),
            None if chance.random() < 0.1 else begin + chance.randrange(3 * DAY_SECONDS),
            chance.choice("ab"),
            chance.choice("pq"),
            **({"ci": chance.choice("xy")} if chance.random() < 0.7 else {}),
        )
        for _ in range(200)
    ]
    whole = report(Grouping(), 0, last, *intervals).total
    for grouping in (
        Grouping(team=True),
        Grouping(day=True),
        Grouping(team=True, principal=True, day=True, labels=("ci", "other")),
    ):
        groups = report(grouping, 0, last, *intervals).groups()
        assert sum(used.vcpu_seconds for _, used in groups) == whole.vcpu_seconds
        assert sum(used.memory_mib_seconds for _, used in groups) == whole.memory_mib_seconds
    moments = sorted({0, last, *(chance.randrange(last) for _ in range(9))})
    parts = [report(Grouping(), since, until, *intervals).total for since, until in cut(moments)]
    assert sum(part.disk_gib_seconds for part in parts) == whole.disk_gib_seconds


def test_what_ended_before_the_clock_was_set_back_counts_and_what_lasts_counts_until_now() -> None:
    found = UsageReport(Grouping(), 0, 500, now=100)
    found.add([interval(50, 500), interval(60, None)])
    assert found.total.vcpu_seconds == 2 * (450 + 40)
