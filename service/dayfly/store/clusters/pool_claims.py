"""Claims of pool members: a member becomes a caller's cluster. Not here: how pools are filled (store/pools.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, select

from dayfly.domain.addon import pending
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.store.clusters.create import replace_labels
from dayfly.store.clusters.schedule import with_end
from dayfly.store.commands import NewCluster
from dayfly.store.db import ids, tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import cluster_columns, cluster_from
from dayfly.store.db.shared_queries import append_events, write_cluster
from dayfly.store.db.tables import clusters
from dayfly.store.notify.commit_notifier import QUEUE, WORK, request_topic

CLAIMED: Final = "cluster.claimed"
"""The type of a claim's event."""
WAIT_SECONDS: Final = 5.0
"""How long a request waits while every matching member is locked or leased; then a new cluster is provisioned.

A row lock lasts some milliseconds. A lease lasts as long as a worker's pass, or longer if the member is broken or the
worker died.
"""
_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.25


def member_pauses() -> Iterator[float | None]:
    """Growing pauses, in seconds, between attempts to claim a member; None after WAIT_SECONDS: no further attempt."""
    clock = asyncio.get_running_loop().time
    deadline, pause = clock() + WAIT_SECONDS, _FIRST_PAUSE_SECONDS
    while clock() < deadline:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    while True:
        yield None


def members_left(spec: ClusterSpec, owner: str) -> ColumnElement[bool]:
    """Whether a matching member is unclaimed, be it locked or leased."""
    return exists().where(_fits(spec, owner))


async def take_member(transaction: Transaction, new: NewCluster) -> Cluster | None:
    """Turn a matching member, ready and paused, into the caller's cluster; None: no such member can be locked.

    It is pending and due at once: a worker gives it new keys, resumes its VMs, and looks whether it is ready. Raises
    IntegrityError if the name is taken.
    """
    # A leased member is under repair or removal.
    free = and_(_fits(new.spec, new.owner), tables.UNLEASED)
    query = select(clusters).where(free).order_by(clusters.c.ready_at).limit(1)
    row = (await transaction.connection.execute(query.with_for_update(skip_locked=True))).one_or_none()
    if row is None:
        return None
    now, member = transaction.now, cluster_from(row)
    taken = with_end(
        replace(
            member,
            name=new.name or ids.new_name(),
            spec=new.spec,
            purpose=Purpose.CLUSTER,
            pool_id=None,
            phase=Phase.PENDING,
            paused=False,
            created_at=now,
            admitted_at=now,
            ready_at=None,
            updated_at=now,
            active_at=now,
            heartbeat_at=None if new.spec.heartbeat_interval_seconds is None else now,
            warned_at=None,
            addons=pending(new.spec.addons),
            hold=new.hold,
        )
    )
    values = {**cluster_columns(taken), "due_at": now, "principal": new.principal}
    claimed = cluster_from(await write_cluster(transaction, taken.id, values))
    # An older Dayfly let callers label a member.
    await replace_labels(transaction, claimed)
    waited = (now - member.created_at).total_seconds()
    append_events(transaction, claimed.id, NewEvent(CLAIMED, f"taken from pool {member.pool_id}", seconds=waited))
    # QUEUE: the pool needs a new member.
    transaction.wake(claimed.id, WORK, QUEUE, request_topic(claimed.id))
    return claimed


def _fits(spec: ClusterSpec, owner: str) -> ColumnElement[bool]:
    columns = clusters.c
    same = and_(columns.shape == spec.shape, columns.owner == owner)
    return and_(tables.WARM, columns.desired == Desired.PRESENT, same)
