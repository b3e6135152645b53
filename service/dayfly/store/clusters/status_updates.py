"""Status updates: what only the holder of a claim may write of its cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import Any, Final

from sqlalchemy import and_, delete, func, select

from dayfly.domain.addon import AddonError, AddonStatus, as_failed, as_ready
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Phase, check_transition
from dayfly.domain.cluster.model import Cluster, Endpoint, Fault, NewEvent, Purpose, StepReport
from dayfly.domain.scheduling.resources import demand, hibernated_demand, stopped_demand
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.store.clusters.leases import NO_LEASE, guarded
from dayfly.store.clusters.service_clock import MeteredPart
from dayfly.store.clusters.template_builds import fail_template_build
from dayfly.store.commands import Claim
from dayfly.store.db import tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import (
    addon_columns,
    cluster_from,
    endpoint_columns,
    fault_columns,
    needs_columns,
    step_columns,
    storable_tail,
)
from dayfly.store.db.secret_columns import OF_CLUSTERS
from dayfly.store.db.shared_queries import append_events, put, write_cluster
from dayfly.store.db.types import UtcDateTime
from dayfly.store.notify.commit_notifier import QUEUE
from dayfly.vocabulary import AddonState

EVIDENCE_BYTES: Final = 64 * 1024
"""Stored size of an evidence text. The end is stored: the reason is there."""


class StatusUpdates(MeteredPart):
    """Phases, steps, events and other status. Every method raises LeaseLost."""

    async def set_phase(
        self,
        claim: Claim,
        phase: Phase,
        *,
        fault: Fault | None = None,
        free: bool = False,
        event: NewEvent | None = None,
        addon: str | None = None,
    ) -> Cluster:
        """Change the phase, with a `phase` event. Raises Internal for a move that the transition table does not have.

        `event`: recorded before the `phase` event. `free`: as free(), in the same transaction. `fault` is kept until
        the cluster is ready; its evidence is saved as by `save_evidence`. `addon`: the name of the add-on at fault.
        Effects of a phase:

        - ready or failed for the first time: the TTL begins
        - ready → provisioning (from its own disks): all its memory is reserved
        - hibernated: vCPUs and memory are freed, disk stays reserved
        - hibernated → pending: the cluster waits in the queue, unreserved
        - deleted: secrets, endpoints, checkpoints, reservation and claim are removed; the name is free
        - failed or deleted, of a cluster that builds or verifies a template: the template fails
        """
        async with guarded(self._database, claim, self._service_clock) as (transaction, row):
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
                if old.boot_source is not None and not old.boot_source.keeps_disks:
                    values |= addon_columns(as_ready(old.addons))
            if phase in {Phase.FAILED, Phase.DELETED} and row.purpose in {Purpose.TEMPLATE, Purpose.VERIFICATION}:
                await fail_template_build(transaction, row, fault)
            if fault is not None and addon is not None:
                values |= addon_columns(as_failed(old.addons, addon, AddonError(fault.code, fault.message)))
            if phase is Phase.FAILED:
                new = replace(new, failed_at=old.failed_at or now)
                values |= _beginning(new)
            if old.phase is Phase.HIBERNATED and phase is Phase.PENDING:
                # The hibernation snapshot takes disk until it is restored.
                needs = replace(demand(old.spec), disk_gib=hibernated_demand(old.spec).disk_gib)
                values |= {"reserved": False, "admitted_at": None, **needs_columns(needs)}
                transaction.wake(QUEUE)
            if old.phase is Phase.READY and phase is Phase.PROVISIONING:
                # A boot from its own disks: the VMs share no memory with a template any more.
                values |= needs_columns(demand(old.spec))
            if phase is Phase.HIBERNATED:
                values |= needs_columns(hibernated_demand(old.spec))
                transaction.wake(QUEUE)
            if phase is Phase.DELETED:
                values |= await _end(transaction, claim)
            elif free:
                values |= await _give_back(transaction, claim)
            moved = NewEvent(
                type="phase",
                message=f"{old.phase} → {phase}",
                step=fault.step if fault else None,
                node=fault.node if fault else None,
                seconds=seconds,
                code=fault.code if fault else None,
            )
            append_events(transaction, old.id, *filter(None, (event, moved)))
            return cluster_from(await write_cluster(transaction, old.id, values))

    async def set_endpoints(self, claim: Claim, endpoints: Mapping[int, Endpoint]) -> None:
        async with guarded(self._database, claim) as (transaction, _):
            written = {**endpoint_columns(endpoints), "updated_at": transaction.now}
            await write_cluster(transaction, claim.cluster.id, written)

    async def save_secrets(self, claim: Claim, secrets: ClusterSecrets) -> None:
        async with guarded(self._database, claim) as (transaction, _):
            await put_secrets(transaction, claim.cluster.id, secrets)

    async def record(self, claim: Claim, items: Sequence[StepReport | NewEvent]) -> None:
        """Add the events at the database's time, and replace the reports of these steps (and nodes)."""
        # The last report of a step wins; the dict keeps the order of the first reports.
        reports = {(item.name, item.node): item for item in items if isinstance(item, StepReport)}
        events = [item for item in items if isinstance(item, NewEvent)]
        async with guarded(self._database, claim) as (transaction, _):
            # A step that has a row keeps its id: the order of the steps' begins.
            rows = [{"cluster_id": claim.cluster.id, **step_columns(one)} for one in reports.values()]
            await put(transaction, tables.steps, ("cluster_id", "name", "node"), rows)
            if events:
                append_events(transaction, claim.cluster.id, *events)

    async def append_event(self, claim: Claim, event: NewEvent) -> None:
        await self.record(claim, [event])

    async def save_evidence(self, claim: Claim, evidence: Mapping[str, str]) -> None:
        """Store the last 64 KiB of each text. Evidence under other names stays."""
        async with guarded(self._database, claim) as (transaction, _):
            await _save_evidence(transaction, claim, evidence)

    async def free(self, claim: Claim) -> None:
        """Release the cluster's reservation: no object of the cluster is left on the engine, no checkpoint either."""
        async with guarded(self._database, claim, self._service_clock) as (transaction, row):
            if row.reserved:
                values = await _give_back(transaction, claim)
                await write_cluster(transaction, row.id, {**values, "updated_at": transaction.now})

    async def free_machines(self, claim: Claim) -> None:
        """Free vCPUs and memory of a cluster whose machines are stopped for good; its disk stays reserved."""
        async with guarded(self._database, claim, self._service_clock) as (transaction, row):
            if row.reserved and row.vcpus:
                needs = needs_columns(stopped_demand(cluster_from(row).spec))
                await write_cluster(transaction, row.id, {**needs, "updated_at": transaction.now})
                transaction.wake(QUEUE)

    async def count_restart(self, claim: Claim, restarts: int) -> Cluster:
        """Record the number of restarts in a row; the updated cluster."""
        async with guarded(self._database, claim) as (transaction, row):
            values = {"restarts": restarts, "restarted_at": transaction.now}
            return cluster_from(await write_cluster(transaction, row.id, values))

    async def set_addon(
        self, claim: Claim, name: str, state: AddonState | None, *, error: AddonError | None = None, event: NewEvent
    ) -> Cluster | None:
        """Record what was observed of the add-on `name` of a ready cluster, with an event; None: it is removed.

        None is returned, and nothing written, where a caller has changed the add-ons since the claim: then another pass
        is due.
        """
        async with guarded(self._database, claim) as (transaction, row):
            old = cluster_from(row)
            if old.spec.addons_revision != claim.cluster.spec.addons_revision:
                return None
            seen = () if state is None else (AddonStatus(name, state, error),)
            states = chain.from_iterable(seen if one.name == name else (one,) for one in old.addons)
            values = {**addon_columns(states), "updated_at": transaction.now}
            append_events(transaction, row.id, event)
            return cluster_from(await write_cluster(transaction, row.id, values))

    async def warned(self, claim: Claim, event: NewEvent) -> None:
        """Add the event that warns of the expiry. `warned_at` prevents a second warning until the expiry moves."""
        async with guarded(self._database, claim) as (transaction, row):
            append_events(transaction, row.id, event)
            await write_cluster(transaction, row.id, {"warned_at": transaction.now})


async def _began(transaction: Transaction, cluster: Cluster) -> datetime:
    """When the wait for ready began: at the creation, or, once it was ready, at the last change of phase."""
    if cluster.ready_at is None:
        return cluster.created_at
    table = tables.events
    same = and_(table.c.cluster_id == cluster.id, table.c.type == "phase")
    query = select(func.max(table.c.at, type_=UtcDateTime())).where(same)
    changed: datetime | None = (await transaction.execute(query)).scalar_one()
    return changed or cluster.updated_at


def _beginning(cluster: Cluster) -> dict[str, datetime | None]:
    """Columns: first ready, first failure, and the expiry that follows."""
    end = expiry(cluster)
    return {
        "ready_at": cluster.ready_at,
        "failed_at": cluster.failed_at,
        # Rows of an older Dayfly may have an expiry that no rule gives.
        "expires_at": end.at if end else cluster.expires_at,
    }


async def _give_back(transaction: Transaction, claim: Claim) -> dict[str, Any]:
    """Delete the records of the checkpoints, whose volume is removed; the columns of a released reservation."""
    table = tables.checkpoints
    await transaction.execute(delete(table).where(table.c.cluster_id == claim.cluster.id))
    transaction.wake(QUEUE)
    return {"reserved": False}


async def _end(transaction: Transaction, claim: Claim) -> dict[str, Any]:
    """Delete secrets and checkpoints; the columns of a deleted cluster."""
    table = tables.secrets
    await transaction.execute(delete(table).where(table.c.cluster_id == claim.cluster.id))
    share = await _give_back(transaction, claim)
    return {"deleted_at": transaction.now, "endpoints": {}, "due_at": None, **share, **NO_LEASE}


async def put_secrets(transaction: Transaction, cluster_id: str, secrets: ClusterSecrets) -> None:
    """Replace the secrets of a cluster whose row is locked."""
    content = await transaction.seal(secrets.model_dump_json(), OF_CLUSTERS.place(cluster_id))
    row = {"cluster_id": cluster_id, "content": content}
    await put(transaction, tables.secrets, ("cluster_id",), [row])


async def _save_evidence(transaction: Transaction, claim: Claim, evidence: Mapping[str, str]) -> None:
    texts = {name: storable_tail(text, EVIDENCE_BYTES) for name, text in evidence.items()}
    rows = [{"cluster_id": claim.cluster.id, "name": name, "content": text} for name, text in texts.items()]
    await put(transaction, tables.evidence, ("cluster_id", "name"), rows)
