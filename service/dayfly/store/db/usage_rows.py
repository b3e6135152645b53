"""Usage intervals: what a cluster has reserved since when, written in the transaction that changes the reservation.

An interval begins when resources are reserved for a cluster, and ends when they are released or when their amount, the
cluster's labels or its principal change; then the next interval begins at the same moment. While a cluster waits in the
queue, it uses nothing; a hibernated cluster uses its disk, also while it waits to be resumed.

The members of a pool and the clusters that build a template use resources of the pool's or the template's team, by the
principal `pool:ID` or `template:ID`; a member that a caller claims uses them by the caller from that moment on.

Times are the database's. The service clock moves the begin of open intervals where the clock was set
(clusters/service_clock.py); transactions that write intervals look for that first.
Not here: sums (domain/usage.py), queries (store/usage.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.security.principal import UNAUTHENTICATED
from dayfly.store.db.accounting_tables import OPEN, usage_intervals
from dayfly.store.db.mapping import needs_columns, needs_from

METERED: Final = frozenset({"reserved", "vcpus", "memory_mib", "disk_gib", "owner", "principal", "spec"})
"""Columns of a cluster on which its interval depends."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_COMPARED: Final = ("owner", "principal", "labels", "vcpus", "memory_mib", "disk_gib")
_INTERVAL: Final = usage_intervals.c
# Built once: most transactions of a pass look for an interval.
_OPEN: Final = select(usage_intervals).where(OPEN)
_INSERT: Final = insert(usage_intervals)
_END: Final = (
    update(usage_intervals).where(_INTERVAL.id == bindparam("interval")).values(ended_ms=bindparam("moment_ms"))
)


def milliseconds(time: datetime) -> int:
    """Since 1970."""
    return (time - _EPOCH) // _MILLISECOND


async def meter(connection: AsyncConnection, now: datetime, rows: Sequence[Row[Any]]) -> None:
    """Let the intervals of the clusters of `rows`, which are locked and as they are from `now` on, agree with them."""
    found = await connection.execute(_OPEN.where(_INTERVAL.cluster_id.in_([row.id for row in rows])))
    present = {interval.cluster_id: interval for interval in found}
    ended: list[dict[str, int]] = []
    new: list[dict[str, object]] = []
    now_ms = milliseconds(now)
    for row in rows:
        old, wanted, moment_ms = present.get(row.id), _interval_of(row), now_ms
        if old is not None:
            if wanted is not None and all(getattr(old, name) == wanted[name] for name in _COMPARED):
                continue
            # A begin that was moved may be some milliseconds too late.
            moment_ms = max(now_ms, old.began_ms)
            ended.append({"interval": old.id, "moment_ms": moment_ms})
        if wanted is not None:
            new.append({**wanted, "began_ms": moment_ms})
    if ended:
        await connection.execute(_END, ended)
    if new:
        await connection.execute(_INSERT, new)


async def move_open(connection: AsyncConnection, jump: timedelta, now: datetime) -> None:
    """Move the begin of all open intervals by `jump`, by which the database's clock was set before `now`."""
    moved, latest = _INTERVAL.began_ms + round(jump / _MILLISECOND), milliseconds(now)
    same = update(usage_intervals).where(OPEN)
    await connection.execute(same.values(began_ms=moved))
    await connection.execute(same.where(_INTERVAL.began_ms > latest).values(began_ms=latest))


def _interval_of(row: Row[Any]) -> dict[str, object] | None:
    """The interval that a cluster has from now on; None: the cluster uses nothing."""
    if row.reserved:
        used = needs_from(row)
    elif row.ready_at is not None and row.admitted_at is None and row.phase in {Phase.PENDING, Phase.DELETING}:
        used = Resources(disk_gib=row.disk_gib)  # hibernated, and in the queue to be resumed
    else:
        return None
    return {
        "cluster_id": row.id,
        "owner": row.owner,
        "principal": row.principal or UNAUTHENTICATED,
        "labels": row.spec.get("labels") or {},
        **needs_columns(used),
    }
