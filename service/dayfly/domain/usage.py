"""Usage: what clusters had reserved, for how long, added up by team, principal, label and day.

All sums are of whole seconds, and exact: the begin and the end of an interval are truncated to the second before they
are subtracted, so the parts of an interval add up to the interval, however it is split into days or periods.
Not here: when an interval begins and ends (store/usage_rows.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from dayfly.domain.scheduling.resources import Resources

DAY_SECONDS: Final = 24 * 3600
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class UsageInterval:
    """A time in which a cluster had `resources` reserved. Seconds since 1970; `end` is None while the time lasts."""

    team: str
    principal: str
    labels: Mapping[str, str]
    resources: Resources
    begin: int
    end: int | None


@dataclass(frozen=True)
class Grouping:
    """By what usage is added up. `labels`: keys of labels, each of which makes groups of its own."""

    team: bool = False
    principal: bool = False
    day: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class UsageGroup:
    """One group; None: usage is not added up by this, or, of a label, the clusters do not have the label."""

    team: str | None = None
    principal: str | None = None
    labels: tuple[str | None, ...] = ()
    day: date | None = None


@dataclass
class UsageSum:
    """vCPU-seconds, MiB-seconds of memory and GiB-seconds of disk."""

    vcpu_seconds: int = 0
    memory_mib_seconds: int = 0
    disk_gib_seconds: int = 0

    def add(self, resources: Resources, seconds: int) -> None:
        self.vcpu_seconds += resources.vcpus * seconds
        self.memory_mib_seconds += resources.memory_mib * seconds
        self.disk_gib_seconds += resources.disk_gib * seconds


@dataclass
class UsageReport:
    """The usage of the seconds from `since` to `until`. Intervals that have not ended count until `now`, or `until`.

    `now` is before `until` where the clock was set back: intervals of before ended later than now.
    """

    grouping: Grouping
    since: int
    until: int
    now: int | None = None
    total: UsageSum = field(default_factory=UsageSum)
    _groups: dict[UsageGroup, UsageSum] = field(default_factory=dict)

    def add(self, intervals: Iterable[UsageInterval]) -> None:
        for interval in intervals:
            begin = max(interval.begin, self.since)
            last = interval.end if interval.end is not None else self.now
            end = self.until if last is None else min(last, self.until)
            if begin >= end:
                continue
            self.total.add(interval.resources, end - begin)
            for day, seconds in self._parts(begin, end):
                group = self._group(interval, day)
                self._groups.setdefault(group, UsageSum()).add(interval.resources, seconds)

    def groups(self) -> Sequence[tuple[UsageGroup, UsageSum]]:
        """Ordered by day, team, principal and labels; a missing label comes first."""

        def place(found: tuple[UsageGroup, UsageSum]) -> tuple[object, ...]:
            group = found[0]
            labels = tuple((label is not None, label or "") for label in group.labels)
            return group.day or date.min, group.team or "", group.principal or "", labels

        return sorted(self._groups.items(), key=place)

    def _parts(self, begin: int, end: int) -> Iterator[tuple[date | None, int]]:
        """The days (in UTC) from `begin` to `end`, with the seconds in each."""
        if not self.grouping.day:
            yield None, end - begin
            return
        while begin < end:
            number = begin // DAY_SECONDS
            midnight = min((number + 1) * DAY_SECONDS, end)
            yield (_EPOCH + timedelta(days=number)).date(), midnight - begin
            begin = midnight

    def _group(self, interval: UsageInterval, day: date | None) -> UsageGroup:
        by = self.grouping
        return UsageGroup(
            interval.team if by.team else None,
            interval.principal if by.principal else None,
            tuple(interval.labels.get(key) for key in by.labels),
            day,
        )
