"""A pool: forks of one template, kept warm and paused for whoever asks for such a cluster next. Values and rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from dayfly.domain.cluster import Cluster
from dayfly.domain.lifecycle import Desired, Phase
from dayfly.domain.spec import ClusterSpec


@dataclass(frozen=True)
class Period:
    """A part of the week in which a pool has another size.

    Days as Monday = 0. Times in UTC, without a zone of their own; `until` after `since`, or 00:00: the day's end.
    """

    days: frozenset[int]
    since: time
    until: time
    size: int

    def has(self, moment: datetime) -> bool:
        """Whether `moment` (aware, in UTC) lies in it."""
        before_end = self.until == time() or moment.time() < self.until
        return moment.weekday() in self.days and self.since <= moment.time() and before_end


@dataclass(frozen=True)
class Pool:
    """One pool. `size` members wait, `maximum` at most whatever a schedule says; `max_age_seconds` of one that waits.

    `schedule`: the first period that has the moment gives the size instead.
    """

    id: str
    name: str
    owner: str
    spec: ClusterSpec
    size: int
    maximum: int
    created_at: datetime
    schedule: tuple[Period, ...] = ()
    max_age_seconds: int = 24 * 3600

    def wanted(self, now: datetime) -> int:
        """How many members are to wait at `now`."""
        size = next((period.size for period in self.schedule if period.has(now)), self.size)
        return min(size, self.maximum)

    @property
    def largest(self) -> int:
        """How many members are ever to wait; 0: it needs no template."""
        return min(self.maximum, max([self.size, *(period.size for period in self.schedule)]))


def superfluous(
    pool: Pool, shape: str, members: Collection[Cluster], now: datetime, *, retry_seconds: float
) -> tuple[str, ...]:
    """The ids of those members that are to go. `shape` is what the pool's spec comes to at `now`.

    At once: those of another shape, which nobody can ask for any more, and those above what is wanted, unfinished ones
    first. One that failed, too; but if it never was ready only after `retry_seconds`, for the next may fail likewise.
    Those that are too old go one by one, each when all others wait ready: the pool is never empty for being renewed.
    """
    present = [member for member in members if member.desired is not Desired.ABSENT]
    useless = [member for member in present if member.spec.shape != shape or _has_failed(member, now, retry_seconds)]
    left = [member for member in present if member not in useless and member.phase is not Phase.FAILED]
    spare = len(left) - pool.wanted(now)
    going = sorted(left, key=lambda member: (_waits(member), *_age(member)))[: max(spare, 0)]
    if spare == 0 and all(map(_waits, left)):
        born = now - timedelta(seconds=pool.max_age_seconds)
        going = sorted((member for member in left if member.created_at < born), key=_age)[:1]
    return tuple(member.id for member in (*useless, *going))


def _has_failed(member: Cluster, now: datetime, retry_seconds: float) -> bool:
    if member.phase is not Phase.FAILED or member.ready_at is not None:
        return member.phase is Phase.FAILED
    return (now - (member.failed_at or member.updated_at)).total_seconds() >= retry_seconds


def _age(member: Cluster) -> tuple[datetime, str]:
    return (member.created_at, member.id)


def _waits(member: Cluster) -> bool:
    """Whether a caller can have it at once."""
    return member.phase is Phase.READY and member.paused
