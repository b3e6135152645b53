"""What a claim's holder records while a cluster is provisioned: its boot source, and whether its machines are paused.

Every method raises LeaseLost, as those of Leases do. Not here: templates (store/templates.py).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import delete, update

from dayfly.domain.addon import begun_again
from dayfly.domain.cluster.boot_source import TEMPLATE, BootSource
from dayfly.domain.cluster.lifecycle import Phase, check_transition
from dayfly.domain.cluster.model import Cluster, NewEvent
from dayfly.domain.scheduling.resources import demand
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.errors import Conflict
from dayfly.store.clusters.leases import guarded
from dayfly.store.clusters.service_clock import MeteredPart
from dayfly.store.clusters.status_updates import put_secrets
from dayfly.store.commands import Claim
from dayfly.store.db import tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import addon_columns, cluster_from, needs_columns, plain
from dayfly.store.db.shared_queries import append_events, write_cluster
from dayfly.vocabulary import TemplatePhase

_FOR_NEW_FORKS: Final = (TemplatePhase.VERIFYING, TemplatePhase.READY)


class ProvisioningStatus(MeteredPart):
    async def begin(
        self,
        claim: Claim,
        origin: BootSource | None,
        *,
        secrets: ClusterSecrets | None = None,
        template_id: str | None = None,
        not_forked: str | None = None,
        reset: bool = False,
    ) -> Cluster:
        """Start provisioning from `origin` (None: its own disks), or restart it from another origin.

        `template_id`: the template of a fork. `not_forked`: why it boots from its image, as a fork's reset may, too.
        With any origin but TEMPLATE, all the cluster's memory is reserved. A template that is new to the cluster counts
        one more use. `secrets`, if given, are saved. `reset`: completes the reset request and begins a new generation.
        Clears `paused`. Adds a `phase` event if the phase changes.
        Raises Conflict if a new template accepts no forks, or the cluster's own template is failed or gone.
        """
        async with guarded(self._database, claim, self._service_clock) as (transaction, row):
            old = cluster_from(row)
            if old.phase is not Phase.PROVISIONING:
                check_transition(old.phase, Phase.PROVISIONING)
                event = NewEvent("phase", f"{old.phase} → {Phase.PROVISIONING}")
                append_events(transaction, old.id, event)
            if template_id is not None and (origin == TEMPLATE or template_id != old.template_id):
                await _use_template(transaction, template_id, new=template_id != old.template_id)
            if secrets is not None:
                await put_secrets(transaction, old.id, secrets)
            # Reports of earlier provisioning, which may have failed.
            await transaction.execute(delete(tables.steps).where(tables.steps.c.cluster_id == old.id))
            values: dict[str, Any] = {
                "phase": Phase.PROVISIONING,
                "origin": None if origin is None else str(origin),
                "template_id": template_id,
                "paused": False,
                "updated_at": transaction.now,
            }
            if origin is not None and not origin.keeps_disks:
                values |= addon_columns(begun_again(old.addons))
            if origin != TEMPLATE:
                # VMs share memory only if they map it from a template, not after a boot or a restore.
                values |= needs_columns(demand(old.spec))
            # A reset of a fork to a checkpoint ends what an earlier reset left here.
            if origin == TEMPLATE or not_forked is not None or (reset and template_id is not None):
                values["not_forked"] = None if not_forked is None else plain(not_forked)
            if reset:
                values |= {"generation": old.generation + 1, "reset_to": None}
            return cluster_from(await write_cluster(transaction, old.id, values))

    async def set_paused(self, claim: Claim, paused: bool) -> Cluster:
        async with guarded(self._database, claim) as (transaction, row):
            values = {"paused": paused, "updated_at": transaction.now}
            return cluster_from(await write_cluster(transaction, row.id, values))

    async def saw_traffic(self, claim: Claim, packets: int) -> Cluster:
        """Record the number of packets from outside; the cluster is in use now."""
        async with guarded(self._database, claim) as (transaction, row):
            values = {"traffic": packets, "active_at": transaction.now}
            return cluster_from(await write_cluster(transaction, row.id, values))


async def _use_template(transaction: Transaction, template_id: str, *, new: bool) -> None:
    """Count a use. Raises Conflict. The row lock keeps the template until the transaction ends."""
    table = tables.templates
    # The reset of a fork may use a retired template: the template stays as long as its forks.
    serving = _FOR_NEW_FORKS if new else (*_FOR_NEW_FORKS, TemplatePhase.RETIRING)
    used = {"uses": table.c.uses + 1, "last_used_at": transaction.now} if new else {"last_used_at": transaction.now}
    there = update(table).where(table.c.id == template_id, table.c.phase.in_(serving)).values(used)
    if (await transaction.execute(there)).rowcount == 0:
        raise Conflict(f"template {template_id} accepts no forks any more")
