"""Presents pools of the domain as responses, and reads their schedules from requests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time
from typing import Final, get_args

from dayfly.api.clusters.presenter import shape_fields
from dayfly.domain import pool as pools
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.schemas.pools import END_OF_DAY, Period, PeriodRequest, Pool, PoolCondition
from dayfly.vocabulary import Day

_DAYS: Final[tuple[Day, ...]] = get_args(Day)


def show_pool(pool: pools.Pool, members: Iterable[Cluster], now: datetime) -> Pool:
    """`members`: the pool's living, unclaimed members."""
    staying = [one for one in members if one.desired is Desired.PRESENT]
    ready = sum(one.phase is Phase.READY and one.paused for one in staying)
    failed = sum(one.phase is Phase.FAILED for one in staying)
    return Pool(
        **shape_fields(pool.spec),
        id=pool.id,
        name=pool.name,
        owner=pool.owner,
        created_at=pool.created_at,
        size=pool.size,
        maximum=pool.maximum,
        schedule=tuple(_show_period(period) for period in pool.schedule),
        max_age_seconds=pool.max_age_seconds,
        desired_size=pool.desired_size(now),
        ready=ready,
        provisioning=len(staying) - ready - failed,
        condition=pool.condition and PoolCondition(code=pool.condition.code, message=pool.condition.message),
    )


def _show_period(period: pools.Period) -> Period:
    until = END_OF_DAY if period.until == time.max else f"{period.until:%H:%M}"
    return Period(
        days=tuple(_DAYS[day] for day in sorted(period.days)),
        since=f"{period.since:%H:%M}",
        until=until,
        size=period.size,
    )


def read_schedule(periods: Iterable[PeriodRequest]) -> tuple[pools.Period, ...]:
    return tuple(
        pools.Period(
            days=frozenset(_DAYS.index(day) for day in period.days),
            since=time.fromisoformat(period.since),
            until=time.max if period.until == END_OF_DAY else time.fromisoformat(period.until),
            size=period.size,
        )
        for period in periods
    )
