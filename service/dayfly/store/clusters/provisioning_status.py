"""What a claim's holder records while a cluster is provisioned: its boot source, and whether its machines are paused.

Every method raises LeaseLost, as those of Leases do. Not here: templates (store/templates.py).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import delete, update

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.boot_source import TEMPLATE, BootSource
from dayfly.domain.cluster.lifecycle import Phase, check_transition
from dayfly.domain.cluster.model import Cluster, NewEvent
from dayfly.domain.scheduling.resources import demand
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.domain.template import TemplatePhase
from dayfly.errors import Conflict
from dayfly.store.clusters.leases import Leases
from dayfly.store.clusters.status_updates import put_secrets
from dayfly.store.commands import Claim
from dayfly.store.db import tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import cluster_from, needs_columns
from dayfly.store.db.shared_queries import append_events, write_cluster

_FOR_NEW_FORKS: Final = (TemplatePhase.VERIFYING, TemplatePhase.READY)


class ProvisioningStatus(Leases):
    """How the machines of a cluster begin, again or for the first time, and what moves within them."""

    @uncancellable
    async def begin(
        self,
        claim: Claim,
        origin: BootSource | None,
        *,
        secrets: ClusterSecrets | None = None,
        template_id: str | None = None,
        reset: bool = False,
    ) -> Cluster:
        """Provision it from `origin` (None: its own disks), even if it is being provisioned from another already.

        `template_id` is what it is a fork of from now on; None: it is none. From any other origin than its template it
        counts with all its memory. A template that is new to the cluster is used once more by this. `secrets`, if
        given, are saved with it. `reset`: this is what was wished for, and a new generation. Its machines run then.
        There is a `phase` event if the phase changes.
        Raises Conflict if a template that is new to the cluster takes no forks, or an old one is lost.
        """
        async with self._guarded(claim) as (transaction, row):
            old = cluster_from(row)
            if old.phase is not Phase.PROVISIONING:
                check_transition(old.phase, Phase.PROVISIONING)
                event = NewEvent("phase", f"{old.phase} → {Phase.PROVISIONING}")
                await append_events(transaction, old.id, event)
            if template_id is not None and (origin == TEMPLATE or template_id != old.template_id):
                await _use_template(transaction, template_id, new=template_id != old.template_id)
            if secrets is not None:
                await put_secrets(transaction, old.id, secrets)
            if old.phase is not Phase.PENDING or old.ready_at is not None:
                # What was reported is of another way to be ready, which may have ended in a failure.
                await transaction.connection.execute(delete(tables.steps).where(tables.steps.c.cluster_id == old.id))
            values: dict[str, Any] = {
                "phase": Phase.PROVISIONING,
                "origin": None if origin is None else str(origin),
                "template_id": template_id,
                "paused": False,
                "updated_at": transaction.now,
            }
            if origin != TEMPLATE:
                # Only what is mapped from a template is shared: booted, or read from a checkpoint, it has all its own.
                values |= needs_columns(demand(old.spec))
            if reset:
                values |= {"generation": old.generation + 1, "reset_to": None}
            return cluster_from(await write_cluster(transaction, old.id, values))

    @uncancellable
    async def set_paused(self, claim: Claim, paused: bool) -> Cluster:
        """Whether its machines stand still."""
        async with self._guarded(claim) as (transaction, row):
            values = {"paused": paused, "updated_at": transaction.now}
            return cluster_from(await write_cluster(transaction, row.id, values))

    @uncancellable
    async def saw_traffic(self, claim: Claim, packets: int, *, active: bool) -> Cluster:
        """So many packets have come from outside; `active`: the cluster was in use until now."""
        async with self._guarded(claim) as (transaction, row):
            values: dict[str, Any] = {"traffic": packets}
            if active:
                values["active_at"] = transaction.now
            return cluster_from(await write_cluster(transaction, row.id, values))


async def _use_template(transaction: Transaction, template_id: str, *, new: bool) -> None:
    """Raises Conflict. The lock keeps the template until this transaction ends."""
    table = tables.templates
    # One that a fork of its own begins from once more (a reset) may be retired: it stays as long as the fork does.
    serving = _FOR_NEW_FORKS if new else (*_FOR_NEW_FORKS, TemplatePhase.RETIRING)
    used = {"uses": table.c.uses + 1, "last_used_at": transaction.now} if new else {"last_used_at": transaction.now}
    there = update(table).where(table.c.id == template_id, table.c.phase.in_(serving)).values(used)
    if (await transaction.connection.execute(there)).rowcount == 0:
        raise Conflict(f"template {template_id} takes no forks any more")
