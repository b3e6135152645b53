"""Leases: how workers claim clusters. Not here: what the holder of a claim reports (status_updates.py).

A claim is a lease on a row: owner, token, end. Every write first locks the row by id and token. Where no row has the
token, another worker has taken the lease, and nothing is written. (A lease that expired, but was not taken, is still
valid.) The row lock also keeps a cluster's events in the order of their ids.
"""

from __future__ import annotations

import secrets as random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, Row, and_, bindparam, case, func, or_, select, update

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.errors import LeaseLost
from dayfly.store.clusters import schedule
from dayfly.store.clusters.service_clock import ServiceClock
from dayfly.store.commands import Claim
from dayfly.store.db import tables
from dayfly.store.db.database import Database, StorePart, Transaction
from dayfly.store.db.mapping import cluster_from
from dayfly.store.db.shared_queries import expired_without_hold, write_cluster
from dayfly.store.db.tables import clusters
from dayfly.store.db.types import DatabaseNow, UtcDateTime
from dayfly.store.notify.commit_notifier import WORK

NO_LEASE: Final[Mapping[str, None]] = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}
_LONGEST: Final = 2
"""A lease of another worker may be longer by this factor, as while the workers' setting is changed."""

# The statements below are built once: each claim loop executes them over and over.

_NOW: Final = bindparam("now", type_=UtcDateTime())
_UNTIL: Final = bindparam("until", type_=UtcDateTime())

_DESIRED: Final = case((expired_without_hold(_NOW), Desired.ABSENT.value), else_=clusters.c.desired)

_OVERDUE: Final = (
    select(clusters.c.id)
    .where(clusters.c.due_at <= _NOW, or_(clusters.c.lease_expires_at.is_(None), clusters.c.lease_expires_at <= _NOW))
    .order_by(clusters.c.due_at)
    .limit(bindparam("limit", type_=Integer()))
    .with_for_update(skip_locked=True)
    .cte("overdue")
    # The planner may run an inlined query once per row, and so claim more than `limit`.
    .prefix_with("MATERIALIZED", dialect="postgresql")
)

_CLAIM: Final = (
    update(clusters)
    .where(clusters.c.id.in_(select(_OVERDUE.c.id)))
    .values(
        lease_owner=bindparam("owner_of_lease"),
        lease_token=bindparam("token"),
        lease_expires_at=_UNTIL,
        desired=_DESIRED,
        fence=clusters.c.fence + 1,
    )
    .returning(clusters)
)

_RENEW: Final = (
    update(clusters)
    .where(clusters.c.id == bindparam("cluster"), clusters.c.lease_token == bindparam("token"))
    .values(lease_expires_at=_UNTIL, desired=_DESIRED)
    .returning(clusters)
)

_FIRST_FREE: Final = (
    select(clusters.c.due_at).where(tables.PLANNED, tables.UNLEASED).order_by(clusters.c.due_at).limit(1)
)
_LATER: Final = case(
    (clusters.c.lease_expires_at > clusters.c.due_at, clusters.c.lease_expires_at), else_=clusters.c.due_at
)
_FIRST_HELD: Final = select(func.min(_LATER, type_=UtcDateTime())).where(tables.LEASED)

# Two subqueries, each on its own index: the few leased clusters, and the first due cluster.
_NEXT_DUE: Final = select(DatabaseNow(), _FIRST_FREE.scalar_subquery(), _FIRST_HELD.scalar_subquery())

_LOCK: Final = (
    select(clusters)
    .where(clusters.c.id == bindparam("id"), clusters.c.lease_token == bindparam("token"))
    .with_for_update()
)
"""Nearly every transaction of a worker begins with it."""


class Leases(StorePart):
    """Claim, renew, release. Every method that takes a claim raises LeaseLost if another worker has the lease."""

    def __init__(self, database: Database, service_clock: ServiceClock) -> None:
        super().__init__(database)
        self._service_clock = service_clock
        self._has_claimed = False

    async def claim(self, owner: str, *, lease_seconds: float, limit: int) -> tuple[Claim, ...]:
        """Claim up to `limit` due clusters without a lease, the longest overdue first.

        The claim of an expired cluster without a hold sets `desired` to absent.
        """
        token = random.token_hex(16)
        async with self._database.write() as transaction:
            now = (await self._service_clock.catch_up(transaction)).now
            if not self._has_claimed:
                await _end_impossible(transaction, now, now + _LONGEST * timedelta(seconds=lease_seconds))
                self._has_claimed = True
            until = now + timedelta(seconds=lease_seconds)
            values = {"now": now, "limit": limit, "owner_of_lease": owner, "token": token, "until": until}
            rows = (await transaction.execute(_CLAIM, values)).all()
        # RETURNING promises no order.
        return tuple(
            Claim(cluster_from(row), token, owner, now, row.due_at) for row in sorted(rows, key=lambda row: row.due_at)
        )

    async def seconds_until_due(self) -> float | None:
        """Seconds until a cluster can be claimed, by the database's clock; 0: now; None: no cluster has a due time."""
        async with self._database.read() as connection:
            now, *times = (await connection.execute(_NEXT_DUE)).one()
        first = schedule.sooner(*times)
        return None if first is None else max(0.0, (first - now).total_seconds())

    async def renew(self, claim: Claim, *, lease_seconds: float) -> Cluster:
        """Extend the lease by `lease_seconds` from now; the current cluster, for changes of its desired state."""
        async with self._database.write() as transaction:
            now = (await self._service_clock.catch_up(transaction)).now
            until = now + timedelta(seconds=lease_seconds)
            values = {"cluster": claim.cluster.id, "token": claim.token, "now": now, "until": until}
            row = (await transaction.execute(_RENEW, values)).one_or_none()
            if row is None:
                raise _lost(claim)
            return cluster_from(row)

    async def release(self, claim: Claim, *, due_in_seconds: float | None) -> None:
        """End the lease. The cluster is due again after `due_in_seconds`; None: at the next time that its spec sets.

        A request under the claim makes the cluster due sooner. A deletion under the claim ended the lease: no error.
        """
        async with self._database.write() as transaction:
            row = await _lock(transaction, claim)
            if row is None:
                query = select(clusters.c.phase).where(clusters.c.id == claim.cluster.id)
                if (await transaction.execute(query)).scalar_one_or_none() in {Phase.DELETED, None}:
                    return
                raise _lost(claim)
            now = transaction.now
            due_at = schedule.after_claim(claim, cluster_from(row), row.due_at, now, due_in_seconds)
            transaction.wake(row.id)
            if due_at is not None and due_at <= now:
                transaction.wake(WORK)
            elif due_at is not None:
                transaction.wake_here(WORK)  # this process's claim loop computes its next pause again
            await write_cluster(transaction, row.id, {"due_at": due_at, **NO_LEASE})


@asynccontextmanager
async def guarded(
    database: Database, claim: Claim, service_clock: ServiceClock | None = None
) -> AsyncIterator[tuple[Transaction, Row[Any]]]:
    """A transaction that holds the claim's row. `service_clock`: for one that writes times of usage.

    Raises LeaseLost.
    """
    async with database.write() as transaction:
        if service_clock is not None:
            await service_clock.settle(transaction)
        row = await _lock(transaction, claim)
        if row is None:
            raise _lost(claim)
        transaction.wake(claim.cluster.id)
        yield transaction, row


async def _end_impossible(transaction: Transaction, now: datetime, latest: datetime) -> None:
    """End leases that end after `latest`: their worker is dead, and the clock was set back while no process ran."""
    impossible = and_(tables.LEASED, clusters.c.lease_expires_at > latest)
    # A leased cluster was due: its `due_at` is in the future for the same reason.
    values = {"due_at": now, **NO_LEASE}
    await transaction.execute(update(clusters).where(impossible).values(values))


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"worker {claim.owner} lost the lease on cluster {claim.cluster.id}")


async def _lock(transaction: Transaction, claim: Claim) -> Row[Any] | None:
    # SQLAlchemy omits FOR UPDATE on SQLite, where the transaction already holds the only write lock.
    same = {"id": claim.cluster.id, "token": claim.token}
    return (await transaction.execute(_LOCK, same)).one_or_none()
