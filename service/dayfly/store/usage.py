"""Queries of usage intervals. Not here: when intervals begin and end (db/usage_rows.py); sums (domain/usage.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, or_, select

from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.usage import Grouping, UsageInterval, UsageReport
from dayfly.store.clusters.service_clock import MeteredPart
from dayfly.store.db.accounting_tables import OPEN, usage_intervals
from dayfly.store.db.types import DatabaseNow
from dayfly.store.db.usage_rows import milliseconds

_PAGE: Final = 2000
"""Intervals of one read: a report of a year must not keep other requests waiting."""
_INTERVAL: Final = usage_intervals.c
_LAST: Final = select(func.coalesce(func.max(_INTERVAL.ended_ms), 0))
_OLDEST_FIRST: Final = select(usage_intervals).order_by(_INTERVAL.id).limit(_PAGE)


class UsageQueries(MeteredPart):
    async def report(
        self, grouping: Grouping, since: datetime, until: datetime | None = None, *, team: str | None = None
    ) -> UsageReport:
        """The usage of `team` (None: of all) from `since` to `until` (None: to now); the future is no usage."""
        await self._service_clock.correct()
        async with self._database.read() as connection:
            now_ms = milliseconds((await connection.execute(select(DatabaseNow()))).scalar_one())
            # Later than now where the clock was set back.
            last_ms = max(now_ms, (await connection.execute(_LAST)).scalar_one())
            begin_ms = min(max(milliseconds(since), 0), last_ms)
            end_ms = last_ms if until is None else max(min(milliseconds(until), last_ms), begin_ms)
            report = UsageReport(grouping, begin_ms // 1000, end_ms // 1000, now_ms // 1000)
            wanted = [_INTERVAL.began_ms < end_ms, or_(OPEN, _INTERVAL.ended_ms > begin_ms)]
            if team is not None:
                wanted.append(_INTERVAL.owner == team)
            last = 0
            # An interval that another transaction ends or begins meanwhile does so after `now`.
            while rows := (await connection.execute(_OLDEST_FIRST.where(*wanted, _INTERVAL.id > last))).all():
                report.add(map(_interval_from, rows))
                last = rows[-1].id
            return report


def _interval_from(row: Row[Any]) -> UsageInterval:
    used = Resources(row.vcpus, row.memory_mib, row.disk_gib)
    end = None if row.ended_ms is None else row.ended_ms // 1000
    return UsageInterval(row.owner, row.principal, row.labels, used, row.began_ms // 1000, end)
