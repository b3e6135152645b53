"""Lifecycle requests of callers: delete, reset, hibernate, resume.

Not here: other changes (updates.py), and checkpoints (store/checkpoints.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, select

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.expiry import must_hibernate
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent
from dayfly.domain.scheduling.resources import demand
from dayfly.domain.security.principal import Reference
from dayfly.errors import Conflict, NotFound
from dayfly.store import quota_checks
from dayfly.store.clusters import schedule
from dayfly.store.clusters.updates import describe_hold
from dayfly.store.commands import IdempotencyKey
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import cluster_from, hold_columns
from dayfly.store.db.shared_queries import append_events, lock_named, require_active, require_ready, write_cluster
from dayfly.store.idempotency_keys import use_on_cluster
from dayfly.store.notify.commit_notifier import QUEUE, WORK, request_topic


class LifecycleRequests(StorePart):
    """Reset, hibernate, resume, delete. A pending request may be repeated.

    With a key, a request that is repeated later is not carried out again: the cluster may have been resumed since it
    was hibernated. Delete needs no key.
    """

    async def reset(self, id_or_name: str | Reference, to: BootSource, key: IdempotencyKey | None = None) -> Cluster:
        """Request a reset, due at once, to a checkpoint or to the pristine state (IMAGE).

        Raises NotFound (of the cluster or the checkpoint), NotReady, and Conflict if another request is pending.
        Raises CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            await use_on_cluster(transaction, key, row)
            cluster = require_ready(row, besides=to)
            if cluster.reset_to == to:
                return cluster
            if to.kind == "checkpoint":
                await _find_checkpoint(transaction, cluster, to.name)
            return await _request(transaction, row, {"reset_to": str(to)})

    async def hibernate(self, id_or_name: str | Reference, key: IdempotencyKey | None = None) -> Cluster:
        """Request hibernation, due at once: a worker saves and stops the VMs.

        Raises NotFound, NotReady, and Conflict if another request is pending. Raises CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            await use_on_cluster(transaction, key, row)
            cluster = require_active(row)
            if cluster.desired is Desired.HIBERNATED and cluster.phase is not Phase.FAILED:
                return cluster
            require_ready(row)
            return await _request(transaction, row, {"desired": Desired.HIBERNATED})

    async def resume(self, id_or_name: str | Reference, key: IdempotencyKey | None = None) -> Cluster:
        """Request that the cluster run again, due at once.

        If the cluster has expired and a hold keeps it hibernated, the hold keeps it running from now on: otherwise a
        worker would hibernate it again. Raises NotFound, and Conflict if the cluster failed or is being deleted.
        Raises QuotaExceeded, CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            await use_on_cluster(transaction, key, row)
            cluster = require_active(row)
            if cluster.phase is Phase.FAILED:
                raise Conflict(f"cluster {cluster.name} failed and cannot be resumed")
            if cluster.desired is Desired.PRESENT:
                return cluster
            if cluster.phase is Phase.HIBERNATED:
                # Its disk is counted already.
                needs = replace(demand(cluster.spec), disk_gib=0)
                await quota_checks.require(transaction, cluster.owner, vars(needs))
            changes: dict[str, object] = {"desired": Desired.PRESENT}
            if cluster.hold is not None and must_hibernate(cluster, transaction.now):
                hold = replace(cluster.hold, vms="running")
                append_events(transaction, cluster.id, NewEvent("cluster.changed", describe_hold(hold)))
                changes |= hold_columns(hold)
            return await _request(transaction, row, changes)

    async def delete(self, id_or_name: str | Reference) -> Cluster:
        """Request a deletion, due at once. May be repeated. Raises NotFound."""
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            if row.phase == Phase.DELETED or row.desired == Desired.ABSENT:
                return cluster_from(row)
            if row.phase == Phase.PENDING and row.admitted_at is None:
                transaction.wake(QUEUE)
            return await _request(transaction, row, {"desired": Desired.ABSENT})


async def _find_checkpoint(transaction: Transaction, cluster: Cluster, name: str) -> None:
    """Raises NotFound, Conflict."""
    table = tables.checkpoints
    query = select(table.c.phase).where(table.c.cluster_id == cluster.id, table.c.name == name)
    phase = (await transaction.execute(query)).scalar_one_or_none()
    if phase is None:
        raise NotFound(f"no checkpoint {name} of cluster {cluster.name}")
    if phase != CheckpointPhase.READY:
        raise Conflict(f"checkpoint {name} of cluster {cluster.name} is {phase}, not ready")


async def _request(transaction: Transaction, row: Row[Any], changes: dict[str, object]) -> Cluster:
    return await make_due(transaction, row, {**changes, "updated_at": transaction.now})


async def make_due(transaction: Transaction, row: Row[Any], changes: Mapping[str, object]) -> Cluster:
    """Write `changes` to the row, due at once, and notify the worker that holds the claim; the updated cluster."""
    transaction.wake(row.id, WORK, request_topic(row.id))
    values = {**changes, "due_at": schedule.due_at_once(row.due_at, transaction.now)}
    return cluster_from(await write_cluster(transaction, row.id, values))
