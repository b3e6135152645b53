"""The worker's half of the store: claims, and the writes that only the holder of a claim may make.

A claim is a lease on a row: owner, token, end. Every write first locks the row by id and token; no such row means that
the lease is another's by now, and nothing is written. (One that ended, but that nobody took, still holds.)
The row lock also keeps a cluster's events in the order of their ids.
"""

from __future__ import annotations

import secrets as random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Table, and_, case, delete, func, insert, or_, select, update

from dayfly.concurrency import whole
from dayfly.domain.cluster import Cluster, Endpoint, Fault, NewEvent, StepReport
from dayfly.domain.lifecycle import Desired, Phase, check_transition
from dayfly.domain.secrets import ClusterSecrets
from dayfly.errors import LeaseLost
from dayfly.store import tables
from dayfly.store.database import Database, Transaction
from dayfly.store.rows import (
    cluster_from,
    event_columns,
    fault_columns,
    step_columns,
    storable_tail,
)
from dayfly.store.tables import DatabaseNow, clusters
from dayfly.store.values import Claim

EVIDENCE_BYTES: Final = 64 * 1024
"""How much of each evidence text is kept: its end, where the reason stands."""


class Leases:
    """What the worker does. Whatever takes a claim raises LeaseLost when the lease is another's by now."""

    _database: Database

    @whole
    async def claim(self, owner: str, *, lease_seconds: float, limit: int) -> tuple[Claim, ...]:
        """Take up to `limit` clusters that are due and that nobody holds, longest overdue first.

        A cluster past its `expires_at` comes with `desired` absent: time to live is a wish that was made beforehand.
        """
        token = random.token_hex(16)
        async with self._database.write() as transaction:
            now = transaction.now
            free = or_(clusters.c.lease_expires_at.is_(None), clusters.c.lease_expires_at <= now)
            due = (
                select(clusters.c.id)
                .where(clusters.c.due_at <= now, free)
                .order_by(clusters.c.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
                .cte("due")
                # Inlined, the planner might run it once per row, and so claim more than `limit`.
                .prefix_with("MATERIALIZED", dialect="postgresql")
            )
            statement = (
                update(clusters)
                .where(clusters.c.id.in_(select(due.c.id)))
                .values(
                    lease_owner=owner,
                    lease_token=token,
                    lease_expires_at=now + timedelta(seconds=lease_seconds),
                    desired=_desired(transaction),
                )
                .returning(clusters)
            )
            rows = (await transaction.connection.execute(statement)).all()
        # RETURNING promises no order.
        return tuple(Claim(cluster_from(row), token, owner) for row in sorted(rows, key=lambda row: row.due_at))

    @whole
    async def seconds_until_due(self) -> float | None:
        """Until the next cluster can be claimed (0: now), on the database's clock; None: nothing is planned."""
        lease_end = func.coalesce(clusters.c.lease_expires_at, clusters.c.due_at)
        claimable = case((lease_end > clusters.c.due_at, lease_end), else_=clusters.c.due_at)
        query = select(DatabaseNow(), func.min(claimable, type_=tables.UtcDateTime())).where(
            clusters.c.due_at.is_not(None)
        )
        async with self._database.read() as connection:
            now, first = (await connection.execute(query)).one()
        return None if first is None else max(0.0, (first - now).total_seconds())

    @whole
    async def renew(self, claim: Claim, *, lease_seconds: float) -> Cluster:
        """Hold on for `lease_seconds` more; the cluster as it is now, so that a changed wish is seen."""
        async with self._database.write() as transaction:
            values = {
                "lease_expires_at": transaction.now + timedelta(seconds=lease_seconds),
                "desired": _desired(transaction),
            }
            statement = update(clusters).where(_held(claim)).values(values).returning(clusters)
            row = (await transaction.connection.execute(statement)).one_or_none()
            if row is None:
                raise _lost(claim)
            return cluster_from(row)

    @whole
    async def release(self, claim: Claim, *, due_in_seconds: float | None) -> None:
        """Let go. Due again after `due_in_seconds`, or (None) when the cluster expires, if ever.

        Due at once, whatever was asked for, when `desired` is no more what the claim saw. No error when the cluster
        was deleted under this claim: that ended it.
        """
        async with self._database.write() as transaction:
            now = transaction.now
            row = await _lock(transaction, claim)
            if row is None:
                query = select(clusters.c.phase).where(clusters.c.id == claim.cluster.id)
                if (await transaction.connection.execute(query)).scalar_one_or_none() == Phase.DELETED:
                    return
                raise _lost(claim)
            if row.desired != claim.cluster.desired:
                due_at = now
            elif due_in_seconds is None:
                due_at = row.expires_at
            else:
                due_at = now + timedelta(seconds=due_in_seconds)
            await _update(transaction, claim, due_at=due_at, **_NO_LEASE)

    @whole
    async def set_phase(self, claim: Claim, phase: Phase, *, fault: Fault | None = None) -> Cluster:
        """Move on by the transition table, with a `phase` event; raises Internal where the table has no such move.

        A fault is kept until the cluster is ready, its evidence as by `save_evidence`. Deleted: secrets, endpoints and
        the claim itself are gone, and the name is free.
        """
        async with self._guarded(claim) as (transaction, row):
            old, now = Phase(row.phase), transaction.now
            check_transition(old, phase)
            values: dict[str, Any] = {"phase": phase, "updated_at": now}
            seconds = None
            if fault is not None:
                values["fault"] = fault_columns(fault)
                await _save_evidence(transaction, claim, fault.evidence)
            if phase is Phase.READY:
                values |= {"ready_at": now, "fault": None}
                seconds = (now - row.created_at).total_seconds()
            if phase is Phase.DELETED:
                values |= {"deleted_at": now, "endpoints": {}, "due_at": None, **_NO_LEASE}
                secrets = tables.secrets
                await transaction.connection.execute(delete(secrets).where(secrets.c.cluster_id == claim.cluster.id))
            event = NewEvent(
                type="phase",
                message=f"{old} → {phase}",
                step=fault.step if fault else None,
                node=fault.node if fault else None,
                seconds=seconds,
                code=fault.code if fault else None,
            )
            await _append_event(transaction, claim, event)
            return cluster_from(await _update(transaction, claim, **values))

    @whole
    async def set_endpoints(self, claim: Claim, endpoints: Mapping[int, Endpoint]) -> None:
        """Replace where the cluster's ports are published."""
        values = {str(inside): {"host": e.host, "port": e.port} for inside, e in endpoints.items()}
        async with self._guarded(claim) as (transaction, _):
            await _update(transaction, claim, endpoints=values, updated_at=transaction.now)

    @whole
    async def save_secrets(self, claim: Claim, secrets: ClusterSecrets) -> None:
        """Replace the cluster's secrets."""
        async with self._guarded(claim) as (transaction, _):
            await _put(transaction, tables.secrets, claim, {}, {"content": secrets.model_dump(mode="json")})

    @whole
    async def report_step(self, claim: Claim, report: StepReport) -> None:
        """Replace what was reported of this step (of this node), if anything was."""
        identity = {"name": report.name, "node": report.node or ""}
        async with self._guarded(claim) as (transaction, _):
            await _put(transaction, tables.steps, claim, identity, step_columns(report))

    @whole
    async def append_event(self, claim: Claim, event: NewEvent) -> None:
        """Add an event, at the database's time."""
        async with self._guarded(claim) as (transaction, _):
            await _append_event(transaction, claim, event)

    @whole
    async def save_evidence(self, claim: Claim, evidence: Mapping[str, str]) -> None:
        """Keep the last 64 KiB of each text, beside what is kept already under other names."""
        async with self._guarded(claim) as (transaction, _):
            await _save_evidence(transaction, claim, evidence)

    @asynccontextmanager
    async def _guarded(self, claim: Claim) -> AsyncIterator[tuple[Transaction, Row[Any]]]:
        """A transaction that holds the claim's row. Raises LeaseLost."""
        async with self._database.write() as transaction:
            row = await _lock(transaction, claim)
            if row is None:
                raise _lost(claim)
            await transaction.touch(claim.cluster.id)
            yield transaction, row


_NO_LEASE: Final[Mapping[str, None]] = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(clusters.c.id == claim.cluster.id, clusters.c.lease_token == claim.token)


def _desired(transaction: Transaction) -> ColumnElement[str]:
    return case((clusters.c.expires_at <= transaction.now, Desired.ABSENT.value), else_=clusters.c.desired)


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(f"cluster {claim.cluster.id} is not {claim.owner}'s any more")


async def _lock(transaction: Transaction, claim: Claim) -> Row[Any] | None:
    # FOR UPDATE is left out on SQLite, where the transaction holds the one write lock already.
    query = select(clusters).where(_held(claim)).with_for_update()
    return (await transaction.connection.execute(query)).one_or_none()


async def _update(transaction: Transaction, claim: Claim, **values: Any) -> Row[Any]:
    statement = update(clusters).where(clusters.c.id == claim.cluster.id).values(values).returning(clusters)
    await transaction.touch(claim.cluster.id)
    row: Row[Any] = (await transaction.connection.execute(statement)).one()
    return row


async def _put(
    transaction: Transaction, table: Table, claim: Claim, identity: Mapping[str, str], values: Mapping[str, object]
) -> None:
    """Update the cluster's one row with `identity`, or insert it; nobody else can, for the cluster's row is locked."""
    key = {"cluster_id": claim.cluster.id, **identity}
    same = and_(*(table.c[name] == value for name, value in key.items()))
    result = await transaction.connection.execute(update(table).where(same).values(**values))
    if result.rowcount == 0:
        await transaction.connection.execute(insert(table).values(**key, **values))


async def _append_event(transaction: Transaction, claim: Claim, event: NewEvent) -> None:
    columns = {"cluster_id": claim.cluster.id, "at": transaction.now, **event_columns(event)}
    await transaction.connection.execute(insert(tables.events).values(columns))


async def _save_evidence(transaction: Transaction, claim: Claim, evidence: Mapping[str, str]) -> None:
    for name, text in evidence.items():
        kept = {"content": storable_tail(text, EVIDENCE_BYTES)}
        await _put(transaction, tables.evidence, claim, {"name": name}, kept)
