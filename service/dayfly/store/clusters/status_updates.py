"""Status updates: what only the holder of a claim may write of its cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, delete, func, select

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Phase, check_transition
from dayfly.domain.cluster.model import Cluster, Endpoint, Fault, NewEvent, Purpose, StepReport
from dayfly.domain.scheduling.resources import demand, hibernated_demand
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.store.clusters.leases import NO_LEASE, Leases
from dayfly.store.clusters.template_builds import fail_template_build
from dayfly.store.commands import Claim
from dayfly.store.db import tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import cluster_from, fault_columns, needs_columns, step_columns, storable_tail
from dayfly.store.db.shared_queries import append_events, put, write_cluster
from dayfly.store.db.types import UtcDateTime
from dayfly.store.notify.commit_notifier import QUEUE

EVIDENCE_BYTES: Final = 64 * 1024
"""How much of each evidence text is kept: its end, where the reason stands."""


class StatusUpdates(Leases):
    """Phases, steps, events, and what else a worker found out. Every method raises LeaseLost as those of Leases do."""

    @uncancellable
    async def set_phase(
        self,
        claim: Claim,
        phase: Phase,
        *,
        fault: Fault | None = None,
        free: bool = False,
        told: NewEvent | None = None,
    ) -> Cluster:
        """Move on by the transition table, with a `phase` event; raises Internal where the table has no such move.

        `told`: an event that goes before it, of the same fact. `free`: as by free(), in the same transaction.

        A fault is kept until the cluster is ready, its evidence as by `save_evidence`. Ready or failed for the first
        time: the time to live begins. Provisioning again, from its own disks: it counts with all its memory.
        Hibernated: its vCPUs and memory are given back, its disk is not; pending again: it waits for all of them.
        Deleted: secrets, endpoints, checkpoints, the share of the host and the claim itself are gone, and the name is
        free. With a cluster that a template is made or tried with, the template fails.
        """
        async with self._guarded(claim) as (transaction, row):
            now = transaction.now
            old = cluster_from(row)
            new = replace(old, phase=phase, updated_at=now)
            check_transition(old.phase, phase)
            values: dict[str, Any] = {"phase": phase, "updated_at": now}
            seconds = None
            if fault is not None:
                values["fault"] = fault_columns(fault)
                await _save_evidence(transaction, claim, fault.evidence)
            if phase is Phase.READY:
                seconds = (now - await _began(transaction, old)).total_seconds()
                new = replace(new, ready_at=old.ready_at or now)
                values |= {"fault": None, "origin": None, **_beginning(new)}
            if phase in {Phase.FAILED, Phase.DELETED} and row.purpose in {Purpose.TEMPLATE, Purpose.TRIAL}:
                await fail_template_build(transaction, row, fault)
            if phase is Phase.FAILED:
                new = replace(new, failed_at=old.failed_at or now)
                values |= _beginning(new)
            if old.phase is Phase.HIBERNATED and phase is Phase.PENDING:
                # What was saved of it lies there until it is loaded.
                needs = replace(demand(old.spec), disk_gib=hibernated_demand(old.spec).disk_gib)
                values |= {"reserved": False, "admitted_at": None, **needs_columns(needs)}
                transaction.wake(QUEUE)
            if old.phase is Phase.READY and phase is Phase.PROVISIONING:
                # It recovers from its own disks: what boots shares nothing with a template any more.
                values |= needs_columns(demand(old.spec))
            if phase is Phase.HIBERNATED:
                values |= needs_columns(hibernated_demand(old.spec))
                transaction.wake(QUEUE)
            if phase is Phase.DELETED:
                values |= await _end(transaction, claim)
            elif free:
                values |= await _give_back(transaction, claim)
            event = NewEvent(
                type="phase",
                message=f"{old.phase} → {phase}",
                step=fault.step if fault else None,
                node=fault.node if fault else None,
                seconds=seconds,
                code=fault.code if fault else None,
            )
            await append_events(transaction, old.id, *filter(None, (told, event)))
            return cluster_from(await write_cluster(transaction, old.id, values))

    @uncancellable
    async def set_endpoints(self, claim: Claim, endpoints: Mapping[int, Endpoint]) -> None:
        """Replace where the cluster's ports are published."""
        values = {str(inside): {"host": e.host, "port": e.port} for inside, e in endpoints.items()}
        async with self._guarded(claim) as (transaction, _):
            written = {"endpoints": values, "updated_at": transaction.now}
            await write_cluster(transaction, claim.cluster.id, written)

    @uncancellable
    async def save_secrets(self, claim: Claim, secrets: ClusterSecrets) -> None:
        """Replace the cluster's secrets."""
        async with self._guarded(claim) as (transaction, _):
            await put_secrets(transaction, claim.cluster.id, secrets)

    @uncancellable
    async def record(self, claim: Claim, items: Sequence[StepReport | NewEvent]) -> None:
        """Add the events, at the database's time, and replace what was reported of these steps (of these nodes)."""
        # Of a step's reports only the last would stay; the first gives it its place among the steps.
        reports = {(item.name, item.node or ""): item for item in items if isinstance(item, StepReport)}
        events = [item for item in items if isinstance(item, NewEvent)]
        async with self._guarded(claim) as (transaction, _):
            for (name, node), report in reports.items():
                key = {"cluster_id": claim.cluster.id, "name": name, "node": node}
                await put(transaction, tables.steps, key, step_columns(report))
            if events:
                await append_events(transaction, claim.cluster.id, *events)

    async def append_event(self, claim: Claim, event: NewEvent) -> None:
        """Add an event, at the database's time."""
        await self.record(claim, [event])

    @uncancellable
    async def save_evidence(self, claim: Claim, evidence: Mapping[str, str]) -> None:
        """Keep the last 64 KiB of each text, beside what is kept already under other names."""
        async with self._guarded(claim) as (transaction, _):
            await _save_evidence(transaction, claim, evidence)

    @uncancellable
    async def free(self, claim: Claim) -> None:
        """Give back the cluster's share of the host: the engine has nothing of it any more, no checkpoint either."""
        async with self._guarded(claim) as (transaction, row):
            if row.reserved:
                values = await _give_back(transaction, claim)
                await write_cluster(transaction, row.id, {**values, "updated_at": transaction.now})

    @uncancellable
    async def count_restart(self, claim: Claim, restarts: int) -> Cluster:
        """Machines of the cluster are being started again, for so many times in a row; the cluster as it is then."""
        async with self._guarded(claim) as (transaction, row):
            values = {"restarts": restarts, "restarted_at": transaction.now}
            return cluster_from(await write_cluster(transaction, row.id, values))

    @uncancellable
    async def warned(self, claim: Claim, event: NewEvent) -> None:
        """Add the event that warns of the cluster's end; there is no other until the end has moved."""
        async with self._guarded(claim) as (transaction, row):
            await append_events(transaction, row.id, event)
            await write_cluster(transaction, row.id, {"warned_at": transaction.now})


async def _began(transaction: Transaction, cluster: Cluster) -> datetime:
    """Since when the caller waits for it to be ready: its creation, or later the last change of its phase."""
    if cluster.ready_at is None:
        return cluster.created_at
    table = tables.events
    same = and_(table.c.cluster_id == cluster.id, table.c.type == "phase")
    query = select(func.max(table.c.at, type_=UtcDateTime())).where(same)
    changed: datetime | None = (await transaction.connection.execute(query)).scalar_one()
    return changed or cluster.updated_at


def _beginning(cluster: Cluster) -> dict[str, datetime | None]:
    """The columns of when it was ready and failed first, and of its end where that follows from them."""
    end = expiry(cluster)
    return {
        "ready_at": cluster.ready_at,
        "failed_at": cluster.failed_at,
        # One that was set before there were rules for it stands.
        "expires_at": end.at if end else cluster.expires_at,
    }


async def _give_back(transaction: Transaction, claim: Claim) -> dict[str, Any]:
    """Forget the checkpoints, which went with the cluster's volume; the columns of who has nothing of the host."""
    table = tables.checkpoints
    await transaction.connection.execute(delete(table).where(table.c.cluster_id == claim.cluster.id))
    transaction.wake(QUEUE)
    return {"reserved": False}


async def _end(transaction: Transaction, claim: Claim) -> dict[str, Any]:
    """Forget the secrets, too; the columns of a deleted cluster."""
    table = tables.secrets
    await transaction.connection.execute(delete(table).where(table.c.cluster_id == claim.cluster.id))
    share = await _give_back(transaction, claim)
    return {"deleted_at": transaction.now, "endpoints": {}, "due_at": None, **share, **NO_LEASE}


async def put_secrets(transaction: Transaction, cluster_id: str, secrets: ClusterSecrets) -> None:
    """Replace the secrets of a cluster whose row is locked."""
    key = {"cluster_id": cluster_id}
    await put(transaction, tables.secrets, key, {"content": secrets.model_dump(mode="json")})


async def _save_evidence(transaction: Transaction, claim: Claim, evidence: Mapping[str, str]) -> None:
    for name, text in evidence.items():
        kept = {"content": storable_tail(text, EVIDENCE_BYTES)}
        await put(transaction, tables.evidence, {"cluster_id": claim.cluster.id, "name": name}, kept)
