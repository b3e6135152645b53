"""Lifecycle requests of callers: delete, reset, hibernate, resume.

Not here: other changes (updates.py), and checkpoints (store/checkpoints.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Row, select

from dayfly.concurrency import uncancellable
from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.expiry import must_hibernate
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent
from dayfly.errors import Conflict, NotFound, NotReady
from dayfly.store.clusters import schedule
from dayfly.store.clusters.updates import hold_story
from dayfly.store.db import tables
from dayfly.store.db.database import Database, Transaction
from dayfly.store.db.mapping import cluster_from, hold_columns
from dayfly.store.db.shared_queries import append_events, lock_named, require_active, write_cluster
from dayfly.store.notify import commit_notifier
from dayfly.store.notify.commit_notifier import WORK


class LifecycleRequests:
    """What callers want of a cluster as a whole. Each wish may be repeated while it is not yet fulfilled."""

    _database: Database

    @uncancellable
    async def request_reset(self, id_or_name: str, to: BootSource) -> Cluster:
        """Back to `to`, due at once: IMAGE stands for the pristine state, or a checkpoint.

        Raises NotFound (of the cluster, or of the checkpoint), NotReady, and Conflict where another wish stands.
        """
        async with self._database.write() as transaction:
            row = await lock_named(transaction, id_or_name)
            cluster = require_ready(row, besides=to)
            if cluster.reset_to == to:
                return cluster
            if to.kind == "checkpoint":
                await _find_checkpoint(transaction, cluster, to.name)
            return await _wish(transaction, row, {"reset_to": str(to)})

    @uncancellable
    async def request_hibernation(self, id_or_name: str) -> Cluster:
        """Record the wish that its machines be saved and stopped, due at once.

        Raises NotFound, NotReady, and Conflict where another wish stands.
        """
        async with self._database.write() as transaction:
            row = await lock_named(transaction, id_or_name)
            cluster = require_active(row)
            if cluster.desired is Desired.HIBERNATED and cluster.phase is not Phase.FAILED:
                return cluster
            require_ready(row)
            return await _wish(transaction, row, {"desired": Desired.HIBERNATED})

    @uncancellable
    async def request_resume(self, id_or_name: str) -> Cluster:
        """Record the wish that it be there, and not hibernated.

        One whose end has come, and that a hold keeps hibernated, is kept running from then on: else it would be put
        to sleep again as soon as it is ready. Raises NotFound, and Conflict if it failed or goes.
        """
        async with self._database.write() as transaction:
            row = await lock_named(transaction, id_or_name)
            cluster = require_active(row)
            if cluster.phase is Phase.FAILED:
                raise Conflict(f"cluster {cluster.name} failed: there is nothing to resume")
            if cluster.desired is Desired.PRESENT:
                return cluster
            wish: dict[str, object] = {"desired": Desired.PRESENT}
            if cluster.hold is not None and must_hibernate(cluster, transaction.now):
                hold = replace(cluster.hold, vms="running")
                await append_events(transaction, cluster.id, NewEvent("cluster.changed", hold_story(hold)))
                wish |= hold_columns(hold)
            return await _wish(transaction, row, wish)


def require_ready(row: Row[Any], *, besides: BootSource | None = None) -> Cluster:
    """The cluster, if it is ready, a caller's, and nothing is wished of it (but a reset to `besides`).

    Raises NotReady, Conflict.
    """
    cluster = require_active(row)
    if cluster.phase is not Phase.READY:
        raise NotReady(f"cluster {cluster.name} is {cluster.phase}")
    if cluster.desired is not Desired.PRESENT:
        raise Conflict(f"cluster {cluster.name} is about to be {cluster.desired}")
    if cluster.reset_to not in {None, besides}:
        raise Conflict(f"cluster {cluster.name} is about to be reset")
    return cluster


async def _find_checkpoint(transaction: Transaction, cluster: Cluster, name: str) -> None:
    """Raises NotFound, Conflict."""
    table = tables.checkpoints
    query = select(table.c.phase).where(table.c.cluster_id == cluster.id, table.c.name == name)
    phase = (await transaction.connection.execute(query)).scalar_one_or_none()
    if phase is None:
        raise NotFound(f"no checkpoint {name} of cluster {cluster.name}")
    if phase != CheckpointPhase.READY:
        raise Conflict(f"checkpoint {name} is {phase}")


async def _wish(transaction: Transaction, row: Row[Any], wish: dict[str, object]) -> Cluster:
    now = transaction.now
    transaction.notify_cluster(row.id)
    transaction.wake(WORK, commit_notifier.request_topic(row.id))
    values = {**wish, "due_at": schedule.asked(row.due_at, now), "updated_at": now}
    return cluster_from(await write_cluster(transaction, row.id, values))
