"""Presents pools of the domain as responses, and reads their schedules from requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, time
from typing import Final, get_args

from dayfly.api.clusters.presenter import shape_fields
from dayfly.domain import pool as pools
from dayfly.schemas.pools import END_OF_DAY, Period, PeriodRequest, Pool
from dayfly.vocabulary import Day

_DAYS: Final[tuple[Day, ...]] = get_args(Day)


def show_pool(pool: pools.Pool, members: Mapping[tuple[str, str], int], now: datetime) -> Pool:
    """`members`: (pool's id, state) → members, as the store's statistics count them."""
    return Pool.of(
        pool,
        **shape_fields(pool.spec),
        schedule=tuple(_show_period(period) for period in pool.schedule),
        desired_size=pool.desired_size(now),
        ready=members.get((pool.id, "ready"), 0),
        provisioning=members.get((pool.id, "provisioning"), 0),
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
