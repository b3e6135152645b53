"""Queries and writes about many clusters at once: garbage collection, engine events, the purge of old records."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sqlalchemy import Select, Table, delete, func, or_, select, update

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.store.commands import Known
from dayfly.store.db import tables
from dayfly.store.db.accounting_tables import audit, usage_intervals
from dayfly.store.db.database import StorePart
from dayfly.store.db.shared_queries import batches
from dayfly.store.db.skip_ids import skip_ids
from dayfly.store.db.tables import clusters, templates
from dayfly.store.db.types import DatabaseNow
from dayfly.store.db.usage_rows import milliseconds
from dayfly.store.db.webhook_tables import webhook_deliveries
from dayfly.store.idempotency_keys import purge_uses
from dayfly.store.notify.commit_notifier import WORK

SKIPPED_NUMBERS: Final = 1_000_000
"""More than a service uses in the longest time between two backups; ids and numbers have 63 bits."""

_KNOWN: Final = select(
    *(clusters.c[name] for name in ("id", "phase", "desired", "reserved", "ready_at")),
    clusters.c.spec["workers"].as_integer().label("workers"),
).where(tables.LIVING)

_PURGED: Final = 1000
"""Rows that one transaction removes."""


class Maintenance(StorePart):
    async def known(self) -> tuple[Known, ...]:
        return tuple(
            Known(
                id=row.id,
                phase=Phase(row.phase),
                desired=Desired(row.desired),
                reserved=row.reserved,
                begun=row.ready_at is not None,
                containers=0 if row.phase == Phase.HIBERNATED else 2 + 1 + row.workers,
            )
            for row in await self._rows(_KNOWN)
        )

    async def deleted(self, cluster_ids: Collection[str]) -> frozenset[str]:
        """The ids that are on record as deleted. All other ids are alive, purged, or were never recorded."""
        found: set[str] = set()
        async with self._database.read() as connection:
            for ids in batches(cluster_ids):
                query = select(clusters.c.id).where(clusters.c.id.in_(ids), tables.GONE)
                found |= set((await connection.execute(query)).scalars())
        return frozenset(found)

    async def requeue(self, cluster_ids: Collection[str]) -> None:
        """Make clusters due at once, leased or not. Deleted clusters are skipped."""
        if not cluster_ids:
            return
        async with self._database.write() as transaction:
            now, columns = transaction.now, clusters.c
            # A leased cluster is due already: a new `due_at` makes its worker requeue it at the release.
            idle = or_(columns.due_at.is_(None), columns.due_at > now, columns.lease_expires_at > now)
            for ids in batches(cluster_ids):
                query = select(columns.id).where(columns.id.in_(ids), tables.LIVING, idle)
                rows = await transaction.execute(query.order_by(columns.id).with_for_update())
                found = list(rows.scalars())
                if found:
                    await transaction.execute(update(clusters).where(columns.id.in_(found)).values(due_at=now))
                    transaction.wake(WORK)

    async def purge_deleted(self, older_than_seconds: float, limit: int) -> int:
        """Remove the records of up to `limit` clusters deleted before that time, and of templates gone before it.

        Those of bakes that ended before it, with their events, and of deliveries to webhooks. And the idempotency keys
        of templates, pools, bakes, webhooks and deliveries without a record. A cluster's keys go with its row.

        Returns the number of clusters.
        """
        async with self._database.write() as transaction:
            before = transaction.now - timedelta(seconds=older_than_seconds)
            await transaction.execute(delete(templates).where(templates.c.gone_at < before))
            await transaction.execute(delete(tables.bakes).where(tables.bakes.c.ended_at < before))
            await transaction.execute(delete(webhook_deliveries).where(webhook_deliveries.c.ended_at < before))
            await purge_uses(transaction, before)
            old = (
                select(clusters.c.id)
                .where(tables.GONE, clusters.c.deleted_at < before)
                .order_by(clusters.c.deleted_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            ids = list((await transaction.execute(old)).scalars())
            for batch in batches(ids):
                await transaction.execute(delete(clusters).where(clusters.c.id.in_(batch)))
            return len(ids)

    async def erase_deleted(self) -> bool:
        """Remove what was deleted from SQLite's log, too; whether no reader was in the way."""
        return await self._database.erase_deleted()

    async def skip_numbers(self) -> None:
        """Leave out numbers that may have been used between a backup and its return.

        A volume refuses claims with a lower number than it has seen (domain/cluster/fencing.py), and a caller who
        follows events asks for those after the last id that it has.
        """
        async with self._database.write() as transaction:
            skipped = update(clusters).values(fence=clusters.c.fence + SKIPPED_NUMBERS)
            await transaction.execute(skipped)
            for table in tables.metadata.sorted_tables:
                if table.dialect_options["sqlite"]["autoincrement"]:
                    await skip_ids(transaction.connection, table.name, SKIPPED_NUMBERS)

    async def purge_events(self, keep: int) -> int:
        """Remove the oldest events of clusters that have more than `keep`; how many were removed."""
        columns, removed = tables.events.c, 0
        many = select(columns.cluster_id).group_by(columns.cluster_id).having(func.count() > keep)
        for row in await self._rows(many):
            same = columns.cluster_id == row.cluster_id
            kept = select(columns.id).where(same).order_by(columns.id.desc()).limit(1).offset(keep - 1)
            old = delete(tables.events).where(same, columns.id < kept.scalar_subquery())
            async with self._database.write() as transaction:
                removed += (await transaction.execute(old)).rowcount
        return removed

    async def purge_accounts(self, *, usage_seconds: float, audit_seconds: float) -> int:
        """Remove usage intervals that ended, and audit entries that were written, so long ago; how many."""
        async with self._database.read() as connection:
            now = (await connection.execute(select(DatabaseNow()))).scalar_one()
        ended_before = milliseconds(now - timedelta(seconds=usage_seconds))
        old_usage = select(usage_intervals.c.id).where(usage_intervals.c.ended_ms < ended_before)
        old_audit = select(audit.c.id).where(audit.c.at < now - timedelta(seconds=audit_seconds))
        return await self._purge(usage_intervals, old_usage) + await self._purge(audit, old_audit)

    async def _purge(self, table: Table, old: Select[tuple[int]]) -> int:
        """In small transactions: requests and workers write between them."""
        removed = 0
        while True:
            async with self._database.write() as transaction:
                some = delete(table).where(table.c.id.in_(old.limit(_PURGED)))
                count = (await transaction.execute(some)).rowcount
            removed += count
            if count < _PURGED:
                return removed
