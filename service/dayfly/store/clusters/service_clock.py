"""The service clock: keeps expiries, holds, leases true over set clocks, suspended hosts and stopped services.

Times are stored by the database's clock, which an operator or NTP may set. Every process compares this clock with the
seconds since its host's boot. Where the clock was set, all times of living clusters and of templates move with it, once
(`jumped_seconds` is the sum of the moves); records of deleted clusters are too many, and age sooner. API processes
record that they serve (`served_at`). After a time without an API process, in which no caller could send a heartbeat,
each heartbeat interval begins again.

TTLs and holds count stopped and suspended time: their ends are times of day that callers have seen.
Not here: when a cluster expires (domain/cluster/expiry.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.clock import BootClock
from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Desired
from dayfly.store.clusters import schedule
from dayfly.store.db import tables
from dayfly.store.db.database import Database, StorePart, Transaction
from dayfly.store.db.mapping import cluster_from
from dayfly.store.db.shared_queries import write_cluster
from dayfly.store.db.tables import clusters, service_clock, templates
from dayfly.store.db.types import DatabaseNow
from dayfly.store.db.usage_rows import move_open

_log = structlog.get_logger(__name__)

JUMP: Final = timedelta(seconds=2)
"""A smaller change of the clock is not corrected."""
GAP: Final = timedelta(seconds=2.5)
"""After so long without a record of an API process, callers could not send heartbeats.

With the time between two records, less than the shortest heartbeat interval: a stop that is too short to be noticed
ends no cluster whose caller sends heartbeats in time.
"""
PAUSE_SECONDS: Final = 15.0
"""Processes look at least every 5 to 10 s: one that did not look for so long was stopped, and measured no traffic."""

PAST: Final = (
    "created_at",
    "admitted_at",
    "ready_at",
    "failed_at",
    "heartbeat_at",
    "active_at",
    "restarted_at",
    "warned_at",
)
FUTURE: Final = ("expires_at", "hold_until", "lease_expires_at")
TEMPLATE_PAST: Final = ("created_at", "ready_at", "last_used_at", "gone_at")
"""Of templates, whose age retires them."""
_LOOK: Final = select(DatabaseNow().label("now"), service_clock).select_from(
    select(1).subquery().outerjoin(service_clock, service_clock.c.id == 1)
)
_INSERT: Final = text("INSERT INTO service_clock (id) VALUES (1) ON CONFLICT (id) DO NOTHING")
_ZERO: Final = timedelta(0)


@dataclass(frozen=True)
class _Look:
    """The database's time `now`, read between `before` and `after` (seconds since boot), and the jumps until then."""

    now: datetime
    before: float
    after: float
    jumped: timedelta


class ServiceClock:
    """The clock of one process; `boot_clock` counts the seconds since the boot of its host."""

    def __init__(self, database: Database, boot_clock: BootClock) -> None:
        self._database = database
        self._boot_clock = boot_clock
        self._last: _Look | None = None

    @uncancellable
    async def serve(self, *, starting: bool = False) -> None:
        """Record that callers can be heard now. At the start, and after a gap, heartbeat intervals begin again."""
        async with self._database.write() as transaction:
            look = await self.catch_up(transaction, starting=starting)
            values = {"served_at": look.now, **self._moment(look)}
            await transaction.execute(_INSERT)
            await transaction.execute(update(service_clock).values(values))

    @uncancellable
    async def correct(self) -> None:
        """Correct the stored times if the clock was set, before a caller compares them with durations."""
        async with self._database.read() as connection:
            look, row = await self._look(connection)
        if abs(self._jump(look, row)) > JUMP:
            async with self._database.write() as transaction:
                await self.catch_up(transaction)

    async def settle(self, transaction: Transaction) -> None:
        """As catch_up, before the transaction writes times of usage; nothing is read unless the clock may be set."""
        last = self._last
        if last is not None:
            expected = last.now + timedelta(seconds=self._boot_clock().seconds - last.after)
            if abs(transaction.now - expected) <= JUMP / 2:
                return
        await self.catch_up(transaction)

    async def catch_up(self, transaction: Transaction, *, starting: bool = False) -> _Look:
        """Correct what a set clock, or a time without an API process, would end or prolong.

        Must be the first use of the transaction: it locks rows of clusters in the order of their ids.
        """
        look, row = await self._look(transaction.connection)
        jump = self._jump(look, row)
        silent = row.served_at is not None and look.now - jump - row.served_at > GAP
        paused = self._last is not None and look.before - self._last.after > PAUSE_SECONDS
        if abs(jump) > JUMP or silent or paused or starting:
            look = await self._correct(transaction, starting=starting, paused=paused)
        self._last = look
        return look

    async def _correct(self, transaction: Transaction, *, starting: bool, paused: bool) -> _Look:
        """Under the lock of the clock's row, because another process may have corrected the same meanwhile."""
        await transaction.execute(_INSERT)
        await transaction.execute(select(service_clock.c.id).with_for_update())
        look, row = await self._look(transaction.connection)
        jump = self._jump(look, row)
        served_at = row.served_at
        if abs(jump) > JUMP:
            _log.warning("the database's clock was set", seconds=round(jump.total_seconds(), 1))
            await _move(transaction, jump, look, self._since_last(look))
            look = replace(look, jumped=look.jumped + jump)
            values = {"jumped_seconds": look.jumped.total_seconds(), **self._moment(look)}
            if served_at is not None:
                served_at += jump
                values["served_at"] = served_at
            await transaction.execute(update(service_clock).values(values))
        if starting or (served_at is not None and look.now - served_at > GAP):
            # A worker grants the interval again and again while no API process serves.
            await _grant_heartbeats(transaction, look.now, older_than=_ZERO if starting else GAP / 2)
        if paused:
            await _grant_idleness(transaction, look.now)
        return look

    async def _look(self, connection: AsyncConnection) -> tuple[_Look, Row[Any]]:
        before = self._boot_clock().seconds
        row = (await connection.execute(_LOOK)).one()
        jumped = timedelta(seconds=row.jumped_seconds or 0.0)
        return _Look(row.now, before, self._boot_clock().seconds, jumped), row

    def _jump(self, look: _Look, row: Row[Any]) -> timedelta:
        """By how much the clock was set, beyond what any process has corrected."""
        last = self._last
        if last is None:
            seen_at: datetime | None = row.seen_at
            if seen_at is None:
                return _ZERO
            if row.boot_id != self._boot_clock().boot_id:
                # How long the service was stopped is unknown; only a clock behind its own past was certainly set.
                return min(look.now - seen_at, _ZERO)
            last = _Look(seen_at, row.boot_seconds, row.boot_seconds, look.jumped)
        earliest = last.now + timedelta(seconds=look.before - last.after)
        latest = last.now + timedelta(seconds=look.after - last.before)
        return look.now - min(max(look.now, earliest), latest) - (look.jumped - last.jumped)

    def _since_last(self, look: _Look) -> timedelta:
        """How long ago this process last looked: the clock was set since, and rows were written since."""
        seconds = 0.0 if self._last is None else look.after - self._last.before
        return timedelta(seconds=min(seconds, PAUSE_SECONDS))

    def _moment(self, look: _Look) -> dict[str, object]:
        seconds = (look.before + look.after) / 2
        return {"seen_at": look.now, "boot_id": self._boot_clock().boot_id, "boot_seconds": seconds}


class MeteredPart(StorePart):
    """A part of the store that writes times of usage, after `_service_clock.settle()`, or reads them."""

    def __init__(self, database: Database, service_clock: ServiceClock) -> None:
        super().__init__(database)
        self._service_clock = service_clock


async def _move(transaction: Transaction, jump: timedelta, look: _Look, window: timedelta) -> None:
    """Move all times by `jump`, except past ones of the last `window`: they are by the new clock.

    No usage interval is by the new clock: transactions that write one call settle() first.
    """
    await move_open(transaction.connection, jump, look.now)

    def moved(time: datetime | None) -> datetime | None:
        written_since = time is not None and look.now - window <= time <= look.now
        return time if time is None or written_since else min(time + jump, look.now)

    query = select(clusters).where(tables.LIVING).order_by(clusters.c.id).with_for_update()
    for row in (await transaction.execute(query)).all():
        columns = row._asdict()
        past = {name: moved(columns[name]) for name in PAST}
        future = {name: columns[name] + jump for name in FUTURE if columns[name] is not None}
        cluster = cluster_from(row)
        began = ("ready_at", "failed_at", "heartbeat_at")
        end = expiry(replace(cluster, **{name: past[name] for name in began}))  # type: ignore[arg-type]
        if end is not None and cluster.expires_at is not None:
            future["expires_at"] = end.at
        # A worker looks at each cluster and sets its next time.
        due_at = None if row.due_at is None else look.now
        await write_cluster(transaction, row.id, {**past, **future, "due_at": due_at})
    for row in (await transaction.execute(select(templates).order_by(templates.c.id).with_for_update())).all():
        values = {name: moved(getattr(row, name)) for name in TEMPLATE_PAST}
        await transaction.execute(update(templates).where(templates.c.id == row.id).values(values))


async def _grant_heartbeats(transaction: Transaction, now: datetime, *, older_than: timedelta) -> None:
    """Begin the heartbeat interval of every cluster again whose last heartbeat is older."""
    silent = clusters.c.heartbeat_at < now - older_than
    query = select(clusters).where(tables.LIVING, clusters.c.desired != Desired.ABSENT, silent)
    rows = (await transaction.execute(query.order_by(clusters.c.id).with_for_update())).all()
    for row in rows:
        await write_cluster(transaction, row.id, schedule.after_heartbeat(row, now))
    if rows:
        _log.info("no heartbeat could be received: the intervals begin again", clusters=len(rows))


async def _grant_idleness(transaction: Transaction, now: datetime) -> None:
    """Begin the idle time of every cluster again: nothing measured its traffic, or its machines were stopped."""
    query = select(clusters.c.id).where(tables.LIVING, clusters.c.active_at < now).order_by(clusters.c.id)
    for cluster_id in (await transaction.execute(query.with_for_update())).scalars().all():
        await write_cluster(transaction, cluster_id, {"active_at": now})
