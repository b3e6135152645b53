"""Conditions and statements that several parts of the store use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Label,
    Row,
    Select,
    String,
    Table,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent, Purpose
from dayfly.domain.security.principal import Reference, Scope
from dayfly.errors import Conflict, NotFound, NotReady
from dayfly.store.db import ids as names
from dayfly.store.db import tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import cluster_from, event_columns
from dayfly.store.db.tables import clusters
from dayfly.store.db.types import DatabaseNow
from dayfly.store.db.usage_rows import METERED, meter
from dayfly.store.notify.commit_notifier import EVENTS, QUEUE, WORK, request_topic

_WRITE: Final = update(clusters).where(clusters.c.id == bindparam("row_id")).returning(clusters)
"""Built once, as all that workers execute often: to build a statement takes longer than SQLite needs to execute it."""
_OWNERS: Final = {
    Purpose.TEMPLATE: "builds a template",
    Purpose.VERIFICATION: "verifies a template",
    Purpose.POOL_MEMBER: "belongs to a pool",
}
_BATCH: Final = 1000
"""Ids in one statement: databases limit the number of parameters."""


def named(id_or_name: str | Reference) -> ColumnElement[bool]:
    """A name matches living clusters only, an id also deleted clusters; both those of the reference's scope."""
    which = Reference.of(id_or_name)
    return _matches(which.text, which.scope.team, is_id=names.is_id(which.text), is_all=which.scope.is_all)


def query_named(id_or_name: str | Reference) -> tuple[Select[Any], Mapping[str, str]]:
    """The query of the clusters that named() matches, which is built once, and its parameters."""
    which = Reference.of(id_or_name)
    query = _query_named(is_id=names.is_id(which.text), is_all=which.scope.is_all)
    return query, {"which": which.text, "team": which.scope.team}


@cache
def _query_named(*, is_id: bool, is_all: bool) -> Select[Any]:
    which, team = bindparam("which", type_=String), bindparam("team", type_=String)
    return select(clusters).where(_matches(which, team, is_id=is_id, is_all=is_all))


def _matches(
    which: str | BindParameter[str], team: str | BindParameter[str], *, is_id: bool, is_all: bool
) -> ColumnElement[bool]:
    scope = () if is_all else (clusters.c.owner == team,)
    return and_(clusters.c.id == which, *scope) if is_id else and_(clusters.c.name == which, tables.LIVING, *scope)


def in_scope(owner: ColumnElement[str], scope: Scope) -> tuple[ColumnElement[bool], ...]:
    """The conditions of rows that a caller with this scope finds."""
    return () if scope.is_all else (owner == scope.team,)


def only(rows: Sequence[Row[Any]], id_or_name: str | Reference, kind: str) -> Row[Any]:
    """Of the rows that match, the one that is meant: several teams may have one of this name. Raises NotFound."""
    which = Reference.of(id_or_name)
    if len(rows) > 1:
        rows = [row for row in rows if row.owner == which.scope.team]
        if not rows:
            raise NotFound(f"several teams have a {kind} named {which}: give its id")
    if not rows:
        raise NotFound(f"no {kind} {which}")
    return rows[0]


def expired_without_hold(now: BindParameter[datetime] | DatabaseNow) -> ColumnElement[bool]:
    """Whether the cluster has expired without a hold: domain/cluster/expiry.is_over in SQL."""
    lapsed = or_(clusters.c.hold_until.is_(None), clusters.c.hold_until <= now)
    return and_(clusters.c.expires_at.is_not(None), clusters.c.expires_at <= now, lapsed)


def owner_expression() -> Label[str]:
    """The owner, to group by: SQLite would group the column by an index that includes all deleted clusters."""
    return func.coalesce(clusters.c.owner, literal_column("''")).label("owner")


def batches(ids: Collection[str]) -> Iterator[list[str]]:
    """Sorted, so that two transactions that lock many rows cannot deadlock."""
    ordered = sorted(set(ids))
    return (ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH))


async def lock_named(transaction: Transaction, id_or_name: str | Reference) -> Row[Any]:
    """The row of a cluster, locked until the transaction ends. Raises NotFound."""
    # SQLAlchemy omits FOR UPDATE on SQLite, where the transaction already holds the only write lock.
    query = select(clusters).where(named(id_or_name)).order_by(clusters.c.id).with_for_update()
    row = only((await transaction.execute(query)).all(), id_or_name, "cluster")
    transaction.concerns("cluster", row.id, row.name)
    return row


def require_active(row: Row[Any]) -> Cluster:
    """The cluster of `row`. Raises Conflict if it is not a caller's, is deleted, or is being deleted."""
    if row.purpose != Purpose.CLUSTER:
        # A change would reach the pool's next caller, or every fork of the template.
        raise Conflict(f"cluster {row.name} {_OWNERS[Purpose(row.purpose)]} and cannot be modified")
    if row.phase == Phase.DELETED:
        raise Conflict(f"cluster {row.name} is deleted")
    if row.desired == Desired.ABSENT:
        raise Conflict(f"cluster {row.name} is being deleted")
    return cluster_from(row)


def require_ready(row: Row[Any], *, besides: BootSource | None = None) -> Cluster:
    """The cluster of `row`. Raises NotReady, and Conflict for a pending request other than a reset to `besides`."""
    cluster = require_active(row)
    if cluster.phase is not Phase.READY:
        raise NotReady(f"cluster {cluster.name} is {cluster.phase}, not ready")
    if cluster.desired is not Desired.PRESENT:
        raise Conflict(f"cluster {cluster.name} is being hibernated: wait, then resume the cluster")
    if cluster.reset_to not in {None, besides}:
        raise Conflict(f"cluster {cluster.name} is being reset: wait until the cluster is ready")
    return cluster


async def write_cluster(transaction: Transaction, cluster_id: str, values: Mapping[str, Any]) -> Row[Any]:
    """Update the row of one cluster, and its usage interval; the updated row."""
    row: Row[Any] = (await transaction.execute(_WRITE, {"row_id": cluster_id, **values})).one()
    if not METERED.isdisjoint(values):
        await meter(transaction.connection, transaction.now, [row])
    return row


async def remove_clusters(transaction: Transaction, which: ColumnElement[bool]) -> int:
    """Request the deletion of clusters of templates and pools, due at once, and notify their workers; how many."""
    # Locks in id order, so that two such transactions cannot deadlock.
    query = select(clusters.c.id).where(which, clusters.c.desired != Desired.ABSENT).order_by(clusters.c.id)
    ids = (await transaction.execute(query.with_for_update())).scalars().all()
    changes = {"desired": Desired.ABSENT, "due_at": transaction.now, "updated_at": transaction.now}
    for some in batches(ids):
        await transaction.execute(update(clusters).where(clusters.c.id.in_(some)).values(changes))
    for cluster_id in ids:
        transaction.wake(cluster_id, WORK, QUEUE, request_topic(cluster_id))
    return len(ids)


def append_events(transaction: Transaction, cluster_id: str, *events: NewEvent) -> None:
    """Add events at the transaction's time, and wake their readers. The caller has locked the cluster's row.

    Statements of the same transaction do not see them: they are inserted just before the commit.
    """
    transaction.events.extend(
        {"cluster_id": cluster_id, "at": transaction.now, **event_columns(event)} for event in events
    )
    transaction.wake(cluster_id, EVENTS)


async def put(transaction: Transaction, table: Table, key: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert `rows`; one whose `key` is taken replaces that row, and keeps its id."""
    if rows:
        await transaction.execute(_upsert(transaction.connection.dialect.name, table, key), rows)


@cache  # most transactions of a pass report steps
def _upsert(dialect: str, table: Table, key: tuple[str, ...]) -> Executable:
    new = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    replaced = {column.name: column for column in new.excluded if column.name not in {"id", *key}}
    return new.on_conflict_do_update(index_elements=key, set_=replaced)
