"""Checkpoints of a cluster: what callers request, and what workers report.

Not here: resets to a checkpoint (clusters/lifecycle_requests.py, clusters/provisioning_status.py).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain.checkpoint import Checkpoint, CheckpointPhase
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.security.principal import Reference
from dayfly.errors import BadName, Conflict, NotFound
from dayfly.store import quota_checks
from dayfly.store.clusters.leases import guarded
from dayfly.store.clusters.lifecycle_requests import make_due
from dayfly.store.commands import Claim, IdempotencyKey
from dayfly.store.db.database import StorePart
from dayfly.store.db.mapping import checkpoint_from
from dayfly.store.db.shared_queries import lock_named, require_active, require_ready
from dayfly.store.db.tables import checkpoints
from dayfly.store.idempotency_keys import use_on_cluster
from dayfly.store.notify.commit_notifier import QUEUE
from dayfly.vocabulary import CHECKPOINT_NAME

MOST: Final = 16
"""Limit for one cluster. A checkpoint takes more disk than the cluster has memory."""


class Checkpoints(StorePart):
    async def create(self, id_or_name: str | Reference, name: str, key: IdempotencyKey | None = None) -> Checkpoint:
        """Request a checkpoint, due at once.

        Raises NotFound (of the cluster), BadName, NotReady, and Conflict: the name is taken, the cluster has MOST
        checkpoints, or another request is pending. Raises QuotaExceeded, CarriedOut, IdempotencyKeyReused.
        """
        if not CHECKPOINT_NAME.fullmatch(name):
            raise BadName(f"{name!r} is not a valid checkpoint name")
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            await use_on_cluster(transaction, key, row)
            cluster = require_ready(row)
            there = await _read(transaction.connection, cluster.id)
            if name in {checkpoint.name for checkpoint in there}:
                raise Conflict(f"cluster {cluster.name} already has a checkpoint {name}")
            if len(there) >= MOST:
                raise Conflict(f"cluster {cluster.name} has {MOST} checkpoints, the maximum: delete a checkpoint first")
            await quota_checks.require(transaction, cluster.owner, quota_checks.saved_wants(cluster.spec))
            made = Checkpoint(cluster.id, name, CheckpointPhase.CREATING, transaction.now)
            await transaction.execute(insert(checkpoints).values(asdict(made)))
            await make_due(transaction, row, {})
            return made

    async def list(self, cluster_id: str) -> tuple[Checkpoint, ...]:
        """Oldest first."""
        async with self._database.read() as connection:
            return await _read(connection, cluster_id)

    async def delete(self, id_or_name: str | Reference, name: str) -> Checkpoint:
        """Request the deletion of a checkpoint. A worker deletes it while the cluster is ready. May be repeated.

        Raises NotFound (of the cluster or the checkpoint), and Conflict during a reset to the checkpoint.
        """
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            cluster = require_active(row)
            there = await _read(transaction.connection, cluster.id)
            found = next((checkpoint for checkpoint in there if checkpoint.name == name), None)
            if found is None:
                raise NotFound(f"no checkpoint {name} of cluster {cluster.name}")
            if found.phase is CheckpointPhase.DELETING:
                return found
            if BootSource("checkpoint", name) in {cluster.reset_to, cluster.boot_source}:
                raise Conflict(f"cluster {cluster.name} is being reset to checkpoint {name}")
            requested = update(checkpoints).where(_one(cluster.id, name)).values(phase=CheckpointPhase.DELETING)
            deleting = (await transaction.execute(requested.returning(checkpoints))).one()
            await make_due(transaction, row, {})
            return checkpoint_from(deleting)

    async def due(self, cluster_id: str) -> tuple[Checkpoint, ...]:
        """Checkpoints to create or to delete, oldest first."""
        found = await self.list(cluster_id)
        return tuple(checkpoint for checkpoint in found if checkpoint.phase is not CheckpointPhase.READY)

    async def growing(self, claim: Claim, name: str, size_bytes: int) -> None:
        """Record the size so far of a checkpoint that is being saved. Raises LeaseLost."""
        async with guarded(self._database, claim) as (transaction, _):
            making = _being_made(claim.cluster.id, name)
            await transaction.execute(update(checkpoints).where(making).values(size_bytes=size_bytes))

    async def made(self, claim: Claim, name: str, size_bytes: int) -> None:
        """Mark the checkpoint ready, unless its deletion was requested meanwhile. Raises LeaseLost."""
        ready = {"phase": CheckpointPhase.READY, "size_bytes": size_bytes}
        async with guarded(self._database, claim) as (transaction, _):
            await transaction.execute(update(checkpoints).where(_being_made(claim.cluster.id, name)).values(ready))

    async def gone(self, claim: Claim, name: str) -> None:
        """Remove the record of a checkpoint that failed or was deleted: its name is free. Raises LeaseLost."""
        async with guarded(self._database, claim) as (transaction, _):
            await transaction.execute(delete(checkpoints).where(_one(claim.cluster.id, name)))
            transaction.wake(QUEUE)  # disk became free


async def _read(connection: AsyncConnection, cluster_id: str) -> tuple[Checkpoint, ...]:
    """Oldest first."""
    query = select(checkpoints).where(checkpoints.c.cluster_id == cluster_id)
    rows = await connection.execute(query.order_by(checkpoints.c.created_at, checkpoints.c.name))
    return tuple(map(checkpoint_from, rows))


def _one(cluster_id: str, name: str) -> ColumnElement[bool]:
    return and_(checkpoints.c.cluster_id == cluster_id, checkpoints.c.name == name)


def _being_made(cluster_id: str, name: str) -> ColumnElement[bool]:
    return and_(_one(cluster_id, name), checkpoints.c.phase == CheckpointPhase.CREATING)
