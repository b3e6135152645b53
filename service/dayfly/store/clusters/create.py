"""Inserts a cluster, for a caller, a template or a pool. Not here: whether name and key are free (queries.py)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, delete, insert, not_, select

from dayfly.domain.addon import pending
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.domain.template import without_caller_options
from dayfly.store.clusters import schedule
from dayfly.store.db import ids, tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import cluster_columns, needs_columns
from dayfly.store.db.tables import clusters
from dayfly.store.notify.commit_notifier import QUEUE

_NEW: Final = insert(clusters)
_NEW_LABELS: Final = insert(tables.labels)


def new_cluster(
    spec: ClusterSpec, now: datetime, *, name: str | None = None, owner: str = "default", hold: Hold | None = None
) -> Cluster:
    """A caller's cluster in its initial state."""
    cluster = Cluster(
        id=ids.new_id(),
        name=name or ids.new_name(),
        spec=spec,
        desired=Desired.PRESENT,
        phase=Phase.PENDING,
        created_at=now,
        updated_at=now,
        owner=owner,
        heartbeat_at=None if spec.heartbeat_interval_seconds is None else now,
        hold=hold,
        addons=pending(spec.addons),
    )
    return schedule.with_end(cluster)


def own_cluster(
    spec: ClusterSpec,
    now: datetime,
    *,
    owner: str,
    purpose: Purpose,
    template_id: str | None = None,
    pool_id: str | None = None,
) -> Cluster:
    """A cluster for a template or a pool: the shape of `spec`, without labels, TTL and other options of callers."""
    made = new_cluster(without_caller_options(spec), now, owner=owner)
    # The random id keeps the name free.
    name = f"{purpose.replace('_', '-')}-{made.id}"
    return replace(made, name=name, purpose=purpose, template_id=template_id, pool_id=pool_id)


async def insert_cluster(
    transaction: Transaction,
    cluster: Cluster,
    *,
    needs: Resources | None = None,
    unless: ColumnElement[bool] | None = None,
    principal: str | None = None,
) -> bool:
    """Insert the cluster and notify admission. Where `unless` holds, do nothing and return False.

    `needs`: the host's resources, if they differ from the spec's. `principal`: who uses them; None: the cluster's pool
    or template. Raises IntegrityError if the name or id is taken.
    """
    values = {
        **cluster_columns(cluster),
        **needs_columns(needs or demand(cluster.spec)),
        "due_at": schedule.look(cluster, cluster.created_at),
        "principal": principal or _own_principal(cluster),
    }
    if unless is None:
        await transaction.execute(_NEW, values)
    else:
        # One statement: `unless` rarely holds, and a query of its own would cost each request a round trip.
        row = _row(tuple(values)).where(not_(unless))
        new = {f"new_{name}": value for name, value in values.items()}
        if (await transaction.execute(_NEW.from_select(list(values), row), new)).rowcount == 0:
            return False
    await _insert_labels(transaction, cluster)
    transaction.wake(cluster.id, QUEUE)
    return True


@cache  # most requests have the same columns, and to build this takes longer than to execute it
def _row(names: tuple[str, ...]) -> Select[Any]:
    """A row of these columns' parameters, `new_NAME`."""
    return select(*(bindparam(f"new_{name}", type_=clusters.c[name].type) for name in names))


def _own_principal(cluster: Cluster) -> str | None:
    if cluster.pool_id is not None:
        return f"pool:{cluster.pool_id}"
    return None if cluster.template_id is None else f"template:{cluster.template_id}"


async def replace_labels(transaction: Transaction, cluster: Cluster) -> None:
    await transaction.execute(delete(tables.labels).where(tables.labels.c.cluster_id == cluster.id))
    await _insert_labels(transaction, cluster)


async def _insert_labels(transaction: Transaction, cluster: Cluster) -> None:
    if cluster.spec.labels:
        pairs = [{"cluster_id": cluster.id, "key": k, "value": v} for k, v in cluster.spec.labels.items()]
        await transaction.execute(_NEW_LABELS, pairs)
