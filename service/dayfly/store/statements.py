"""Conditions and statements that more than one part of the store needs. Not here: what only one of them does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, insert, or_, select, update

from dayfly.domain.cluster import NewEvent
from dayfly.errors import NotFound
from dayfly.store import names, tables
from dayfly.store.columns import DatabaseNow
from dayfly.store.database import Transaction
from dayfly.store.rows import event_columns
from dayfly.store.tables import clusters

_NEW_EVENT: Final = insert(tables.events)
_BATCH: Final = 1000
"""Ids in one statement: databases bound the number of parameters."""


def named(id_or_name: str) -> ColumnElement[bool]:
    """By name the living cluster; by id a deleted one too."""
    if names.is_id(id_or_name):
        return clusters.c.id == id_or_name
    return and_(clusters.c.name == id_or_name, tables.LIVING)


def not_found(id_or_name: str) -> NotFound:
    return NotFound(f"no cluster {id_or_name}")


def is_over(now: datetime | DatabaseNow) -> ColumnElement[bool]:
    """Whether the cluster has come to an end that no hold puts off: domain/expiry.is_over, as SQL."""
    lapsed = or_(clusters.c.hold_until.is_(None), clusters.c.hold_until <= now)
    return and_(clusters.c.expires_at.is_not(None), clusters.c.expires_at <= now, lapsed)


def batches(ids: Collection[str]) -> Iterator[list[str]]:
    """In one order for everybody, so that two who lock many rows never wait for each other."""
    ordered = sorted(set(ids))
    return (ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH))


async def lock_named(transaction: Transaction, id_or_name: str) -> Row[Any]:
    """The row of a cluster, locked until the transaction ends. Raises NotFound."""
    # FOR UPDATE is left out on SQLite, where the transaction holds the one write lock already.
    query = select(clusters).where(named(id_or_name)).with_for_update()
    row: Row[Any] | None = (await transaction.connection.execute(query)).one_or_none()
    if row is None:
        raise not_found(id_or_name)
    return row


async def write_cluster(transaction: Transaction, cluster_id: str, values: Mapping[str, Any]) -> Row[Any]:
    """Change the row of one cluster; the row as it is then."""
    statement = update(clusters).where(clusters.c.id == cluster_id).values(values).returning(clusters)
    row: Row[Any] = (await transaction.connection.execute(statement)).one()
    return row


async def append_events(transaction: Transaction, cluster_id: str, *events: NewEvent) -> None:
    """Add events at the transaction's time. The cluster's row is locked by now: that keeps its events in order."""
    rows = [{"cluster_id": cluster_id, "at": transaction.now, **event_columns(event)} for event in events]
    await transaction.connection.execute(_NEW_EVENT, rows)
