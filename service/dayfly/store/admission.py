"""The admission queue, and reservations of the host's resources.

Not here: which cluster is next, and what fits (domain/scheduling/).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

from sqlalchemy import Row, Select, and_, case, exists, func, not_, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly import metrics
from dayfly.domain.bake import NewBakeEvent
from dayfly.domain.cluster.lifecycle import Desired
from dayfly.domain.cluster.model import NewEvent, Purpose
from dayfly.domain.quota import DEFAULT
from dayfly.domain.scheduling.fair_queue import DurationStats, Occupant, Queue, Waiting
from dayfly.domain.scheduling.resources import Resources
from dayfly.store.clusters.pool_claims import CLAIMED
from dayfly.store.clusters.service_clock import MeteredPart
from dayfly.store.db import tables
from dayfly.store.db.bake_rows import append
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import needs_columns, needs_from
from dayfly.store.db.quota_tables import quotas
from dayfly.store.db.shared_queries import append_events, batches, expired_without_hold, owner_expression
from dayfly.store.db.tables import bakes, checkpoints, clusters, templates
from dayfly.store.db.types import DatabaseNow
from dayfly.store.db.usage_rows import meter
from dayfly.store.notify.commit_notifier import QUEUE, WORK
from dayfly.vocabulary import TemplatePhase

_ADVISORY_LOCK: Final = 0x6461_7966_6C79_01
"""Serialises admission. db/migrate.py uses another number."""

_LATEST: Final = 50
"""Clusters in a median: enough to be stable, few enough to follow a change."""


class Admission(MeteredPart):
    async def queue(self) -> Queue:
        """Waiting clusters in the order of arrival, and the resources of each owner.

        A cluster that waits to be resumed has its disk reserved, and waits for vCPUs and memory.
        """
        async with self._database.read() as connection:
            return await _read_queue(connection)

    async def held(self) -> Queue:
        """As queue(), without what waits: its cost does not grow with the number of clusters."""
        async with self._database.read() as connection:
            return await _read_held(connection)

    async def occupants(self) -> tuple[Occupant, ...]:
        began = func.coalesce(clusters.c.admitted_at, clusters.c.created_at).label("began")
        query = select(*_NEEDS, began, clusters.c.expires_at).where(tables.RESERVED)
        return tuple(Occupant(needs_from(row), row.began, row.expires_at) for row in await self._rows(query))

    async def duration_stats(self) -> DurationStats:
        """Median durations of callers' latest clusters: to ready, and to the deletion."""
        columns = clusters.c
        callers = columns.purpose == Purpose.CLUSTER
        # A resumed cluster has ready_at < admitted_at; a claimed pool member had been made before.
        event = tables.events.c
        claimed = exists().where(event.cluster_id == columns.id, event.type == CLAIMED)
        made = and_(columns.ready_at > columns.admitted_at, ~claimed)
        ready = select(columns.admitted_at, columns.ready_at.label("end")).where(callers, made)
        ended = select(columns.admitted_at, columns.deleted_at.label("end")).where(
            tables.GONE, callers, columns.admitted_at.is_not(None)
        )
        async with self._database.read() as connection:
            provisioning = await _typical(connection, ready.order_by(columns.created_at.desc()))
            life = await _typical(connection, ended.order_by(columns.deleted_at.desc()))
        return DurationStats(provisioning, life)

    async def admit(self, decide: Callable[[Queue], Sequence[Waiting]]) -> tuple[str, ...]:
        """Reserve resources for the clusters that `decide` picks from the queue, and make them due; their ids.

        A lock serialises admission over all processes: each decision sees all decisions before it.
        """
        if await self._row(_FIRST_WAITING) is None and await self._row(_BAKES_WAITING.limit(1)) is None:
            return ()  # no lock for an empty queue
        async with self._database.write() as transaction:
            await self._service_clock.settle(transaction)
            connection = transaction.connection
            if connection.dialect.name == "postgresql":
                await connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            chosen = {waiting.id: waiting for waiting in decide(await _read_queue(connection))}
            admitted: dict[str, float | None] = {}
            for ids in batches([one.id for one in chosen.values() if not one.bake]):
                admitted.update(await _admit(transaction, [chosen[cluster_id] for cluster_id in ids]))
            admitted.update(await _admit_bakes(transaction, [one for one in chosen.values() if one.bake]))
            if admitted:
                transaction.wake(WORK, QUEUE)
        for cluster_id, waited in admitted.items():
            if waited is not None and not chosen[cluster_id].background:
                metrics.queue_seconds.observe(waited)
        return tuple(cluster_id for cluster_id in chosen if cluster_id in admitted)


_UNCOUNTED: Final = and_(clusters.c.vcpus == 0, clusters.c.disk_gib == 0)
"""Recorded by an older Dayfly."""

_ASLEEP: Final = and_(tables.QUEUED, clusters.c.ready_at.is_not(None))
"""The cluster waits to be resumed: its disks and its hibernation snapshot exist."""

_GIB: Final = 1 << 30

_SAVED_BYTES: Final = select(
    select(func.coalesce(func.sum(templates.c.size_bytes), 0))
    .where(tables.RECORDED, templates.c.phase != TemplatePhase.FAILED)
    .scalar_subquery()
    + select(func.coalesce(func.sum(checkpoints.c.size_bytes), 0))
    .where(exists().where(clusters.c.id == checkpoints.c.cluster_id, or_(tables.RESERVED, _ASLEEP)))
    .scalar_subquery()
)
"""Bytes of snapshots on disk. Garbage collection removes the volume of a failed template; a cluster's volume, with its
checkpoints, is removed with the cluster.
"""

_NEEDS: Final = (
    clusters.c.vcpus,
    clusters.c.memory_mib,
    clusters.c.disk_gib,
    case((_UNCOUNTED, clusters.c.spec), else_=null()).label("spec"),
)
"""Input of db/mapping.needs_from. The spec is large: it is read only for rows of an older Dayfly."""

_METERED: Final = tuple(
    clusters.c[name]
    for name in ("id", "phase", "ready_at", "admitted_at", "reserved", "owner", "principal", "spec", *vars(Resources()))
)
"""Input of db/usage_rows.meter."""


_ROOM: Final = (bakes.c.vcpus, bakes.c.memory_mib, bakes.c.disk_gib)

# Built once: each look at the queue executes them.
_WAITING: Final[Select[Any]] = (
    select(clusters.c.id, clusters.c.owner, clusters.c.purpose, clusters.c.ready_at, *_NEEDS)
    .where(tables.QUEUED, clusters.c.desired == Desired.PRESENT, not_(expired_without_hold(DatabaseNow())))
    .order_by(clusters.c.created_at, clusters.c.id)
)
_FIRST_WAITING: Final = _WAITING.limit(1)
_SHARES: Final = (
    select(
        clusters.c.owner,
        *(func.sum(clusters.c[name]).label(name) for name in ("vcpus", "memory_mib", "disk_gib")),
    )
    .where(tables.RESERVED)
    .group_by(clusters.c.owner)
)
_WEIGHTS: Final = select(quotas.c.owner, quotas.c.weight).where(quotas.c.weight.is_not(None))
_OWNER: Final = owner_expression()
_DISKS_ASLEEP: Final = select(_OWNER, func.sum(clusters.c.disk_gib).label("disk_gib")).where(_ASLEEP).group_by(_OWNER)


_BAKES_WAITING: Final = (
    select(bakes.c.id, bakes.c.owner, *_ROOM)
    .where(tables.IN_ADMISSION, bakes.c.reserved.is_(False), bakes.c.cancel_requested_at.is_(None))
    .order_by(bakes.c.room_asked_at, bakes.c.id)
)
_BAKES_SHARES: Final = select(bakes.c.owner, *_ROOM).where(tables.IN_ADMISSION, bakes.c.reserved)


async def _read_queue(connection: AsyncConnection) -> Queue:
    rows = (await connection.execute(_WAITING)).all()
    waiting = [Waiting(row.id, row.owner, _wanted(row), background=row.purpose != Purpose.CLUSTER) for row in rows]
    asked = (await connection.execute(_BAKES_WAITING)).all()
    waiting += [Waiting(row.id, row.owner, Resources(*row[2:]), bake=True) for row in asked]
    return replace(await _read_held(connection), waiting=tuple(waiting))


async def _read_held(connection: AsyncConnection) -> Queue:
    """With nothing waiting."""
    held = (await connection.execute(_SHARES)).all()
    disks = (await connection.execute(_DISKS_ASLEEP)).all()
    shares: defaultdict[str, Resources] = defaultdict(Resources)
    for row in held:
        shares[row.owner] += Resources(row.vcpus, row.memory_mib, row.disk_gib)
    for row in await connection.execute(_BAKES_SHARES):
        shares[row.owner] += Resources(*row[1:])
    for row in disks:
        shares[row.owner] += Resources(disk_gib=row.disk_gib)
    saved_bytes = (await connection.execute(_SAVED_BYTES)).scalar_one()
    weights = {row.owner: row.weight for row in (await connection.execute(_WEIGHTS)).all()}
    common = weights.pop(DEFAULT, 1.0)
    return Queue((), dict(shares), math.ceil(saved_bytes / _GIB), weights, common)


def _wanted(row: Row[Any]) -> Resources:
    """Resources to reserve for a waiting cluster: no disk for a resume, which has its disk already."""
    needs = needs_from(row)
    return needs if row.ready_at is None else replace(needs, disk_gib=0)


async def _typical(connection: AsyncConnection, query: Select[Any]) -> float | None:
    """Median seconds from `admitted_at` to `end`."""
    rows = (await connection.execute(query.limit(_LATEST))).all()
    return median((row.end - row.admitted_at).total_seconds() for row in rows) if rows else None


async def _admit(transaction: Transaction, chosen: Sequence[Waiting]) -> dict[str, float | None]:
    """Reserve for those of `chosen` that still wait: id → seconds since the request; None for a resume."""
    connection, now = transaction.connection, transaction.now
    waits = and_(clusters.c.id.in_([waiting.id for waiting in chosen]), clusters.c.desired == Desired.PRESENT)
    columns = (clusters.c.id, clusters.c.created_at, clusters.c.ready_at, _UNCOUNTED.label("uncounted"))
    locked = select(*columns).where(tables.QUEUED, waits)
    rows = (await connection.execute(locked.order_by(clusters.c.id).with_for_update())).all()
    if not rows:
        return {}
    ids = [row.id for row in rows]
    share = {"admitted_at": now, "reserved": True, "due_at": now, "updated_at": now}
    await connection.execute(update(clusters).where(clusters.c.id.in_(ids)).values(share))
    needs = {waiting.id: waiting.needs for waiting in chosen}
    for row in rows:
        if row.uncounted:
            unknown = clusters.c.id == row.id
            await connection.execute(update(clusters).where(unknown).values(needs_columns(needs[row.id])))
    reserved = select(*_METERED).where(clusters.c.id.in_(ids))
    await meter(connection, now, (await connection.execute(reserved)).all())
    waits_of_new: dict[str, float | None] = {}
    for row in rows:
        waited = (now - row.created_at).total_seconds()
        event = NewEvent("cluster.admitted", f"resources reserved: {needs[row.id]}", seconds=waited)
        append_events(transaction, row.id, event)
        waits_of_new[row.id] = None if row.ready_at is not None else max(0.0, waited)
    return waits_of_new


async def _admit_bakes(transaction: Transaction, chosen: Sequence[Waiting]) -> dict[str, None]:
    """Reserve for the verifications of those bakes that still wait."""
    admitted: dict[str, None] = {}
    for waiting in sorted(chosen, key=lambda one: one.id):
        waits = _BAKES_WAITING.where(bakes.c.id == waiting.id).with_for_update()
        if (await transaction.execute(waits)).one_or_none() is None:
            continue
        await transaction.execute(update(bakes).where(bakes.c.id == waiting.id).values(reserved=True))
        message = f"resources reserved: {waiting.needs}"
        await append(transaction, waiting.id, [NewBakeEvent("admitted", message, "verify")])
        transaction.wake(waiting.id)
        admitted[waiting.id] = None
    return admitted
