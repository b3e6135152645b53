"""A pool: paused forks of one template that wait for callers. Values and rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import ClusterSpec

_ROOM_SECONDS: Final = 10.0
"""Every member is queued briefly; a member that is queued for longer finds no room on the host."""


@dataclass(frozen=True)
class Period:
    """A part of the week in which a pool has another size.

    Days as Monday = 0. Times in UTC, without a zone of their own; `until` after `since`: time.max for the day's end.
    """

    days: frozenset[int]
    since: time
    until: time
    size: int

    def has(self, moment: datetime) -> bool:
        """Whether `moment` (aware, in UTC) is in the period."""
        return moment.weekday() in self.days and self.since <= moment.time() < self.until


@dataclass(frozen=True)
class PoolCondition:
    """Why a pool is not filled. `code`: that of an error (errors/), TEMPLATE_BUILDING or INSUFFICIENT_CAPACITY."""

    code: str
    message: str


TEMPLATE_BUILDING: Final = "template_building"
"""Members are forks of a template, which is being built."""
INSUFFICIENT_CAPACITY: Final = "insufficient_capacity"
"""Members are queued for a share of the host, behind the clusters of callers."""


@dataclass(frozen=True)
class Pool:
    """One pool: `size` paused members, at most `maximum` whatever the schedule, each at most `max_age_seconds` old.

    `schedule`: the first period that has the moment gives the size instead. `condition`: why a worker could not fill
    the pool in its last attempt.
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
    condition: PoolCondition | None = None

    def desired_size(self, now: datetime) -> int:
        size = next((period.size for period in self.schedule if period.has(now)), self.size)
        return min(size, self.maximum)

    @property
    def largest(self) -> int:
        """The largest number of members that the pool ever has; 0: the pool needs no template."""
        return min(self.maximum, max([self.size, *(period.size for period in self.schedule)]))


def surplus_members(
    pool: Pool, shape: str, members: Collection[Cluster], now: datetime, *, retry_seconds: float, renewable: bool
) -> tuple[str, ...]:
    """The ids of the members to remove. `shape` is that of the pool's spec at `now`; `renewable`: new members can be
    forked.

    Removed at once: members of another shape, which no request matches; members above the desired size, unfinished
    ones first; failed members, but those that were never ready only after `retry_seconds`, because the next may fail
    likewise. Members that are too old are removed one at a time, when all others are ready and new members can be
    forked: a pool of several members always has some.
    """
    present = [member for member in members if member.desired is not Desired.ABSENT]
    useless = [member for member in present if member.spec.shape != shape or _has_failed(member, now, retry_seconds)]
    left = [member for member in present if member not in useless and member.phase is not Phase.FAILED]
    spare = len(left) - pool.desired_size(now)
    going = sorted(left, key=lambda member: (is_waiting(member), *_age(member)))[: max(spare, 0)]
    if renewable and spare == 0 and all(map(is_waiting, left)):
        since = now - timedelta(seconds=pool.max_age_seconds)
        going = sorted((member for member in left if (member.ready_at or now) < since), key=_age)[:1]
    return tuple(member.id for member in (*useless, *going))


def pool_condition(members: Collection[Cluster], now: datetime) -> PoolCondition | None:
    """Why a pool with these remaining members is not filled: a member failed, or a member finds no room on the host."""
    for member in members:
        if member.phase is Phase.FAILED and member.fault is not None:
            return PoolCondition(member.fault.code, f"member {member.id} failed: {member.fault.message}")
    for member in members:
        queued = member.phase is Phase.PENDING and member.admitted_at is None
        if queued and (now - member.created_at).total_seconds() >= _ROOM_SECONDS:
            return PoolCondition(
                INSUFFICIENT_CAPACITY, f"member {member.id} is queued: the host has no capacity for it"
            )
    return None


def _has_failed(member: Cluster, now: datetime, retry_seconds: float) -> bool:
    if member.phase is not Phase.FAILED or member.ready_at is not None:
        return member.phase is Phase.FAILED
    return (now - (member.failed_at or member.updated_at)).total_seconds() >= retry_seconds


def _age(member: Cluster) -> tuple[datetime, str]:
    return (member.created_at, member.id)


def is_waiting(member: Cluster) -> bool:
    """Whether a caller can claim the member at once."""
    return member.phase is Phase.READY and member.paused
