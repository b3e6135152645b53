"""Template builds: what workers report of a template that is being saved and verified.

A template fails with the cluster that builds it. Every method raises LeaseLost, as those of Leases do, and may be
repeated. A report about a template that was retired meanwhile only has the reporting cluster removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, and_, insert, select, update

from dayfly.domain.cluster.model import Fault, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.errors import Conflict
from dayfly.store.clusters.create import insert_cluster, own_cluster
from dayfly.store.clusters.leases import guarded
from dayfly.store.commands import Claim
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import fault_columns
from dayfly.store.db.secret_columns import OF_CLUSTERS, OF_TEMPLATES
from dayfly.store.db.shared_queries import remove_clusters
from dayfly.store.db.tables import clusters, templates
from dayfly.store.notify.commit_notifier import QUEUE
from dayfly.vocabulary import TemplatePhase

_TASKS: Final = {Purpose.TEMPLATE: "builds", Purpose.VERIFICATION: "verifies"}


class TemplateBuilds(StorePart):
    async def growing(self, claim: Claim, size_bytes: int) -> None:
        """Record the size so far of a template whose snapshot is being taken."""
        async with guarded(self._database, claim) as (transaction, row):
            await _move(transaction, row, TemplatePhase.BUILDING, {"size_bytes": size_bytes})

    async def saved(self, claim: Claim, size_bytes: int) -> None:
        """The snapshot of the builder is there: remove the builder, and queue the fork that verifies the template."""
        async with guarded(self._database, claim) as (transaction, row):
            await remove_clusters(transaction, clusters.c.id == row.id)
            values = {"phase": TemplatePhase.VERIFYING, "size_bytes": size_bytes}
            if await _move(transaction, row, TemplatePhase.BUILDING, values):
                await _keep_secrets(transaction, row)
                spec = ClusterSpec.model_validate(row.spec)
                verification = own_cluster(
                    spec, transaction.now, owner=row.owner, purpose=Purpose.VERIFICATION, template_id=row.template_id
                )
                await insert_cluster(transaction, verification)

    async def verified(self, claim: Claim) -> None:
        """The verification is ready: remove it; the template is ready."""
        async with guarded(self._database, claim) as (transaction, row):
            await remove_clusters(transaction, clusters.c.id == row.id)
            values = {"phase": TemplatePhase.READY, "ready_at": transaction.now}
            await _move(transaction, row, TemplatePhase.VERIFYING, values)


async def fail_template_build(transaction: Transaction, row: Row[Any], fault: Fault | None) -> None:
    """The builder or the verification of a template failed or is deleted: the template fails, if it still needs it.

    Without a `fault`, the deletion of the cluster was requested.
    """
    await remove_clusters(transaction, clusters.c.id == row.id)
    fault = fault or Fault(
        Conflict.code, f"cluster {row.id}, which {_TASKS[Purpose(row.purpose)]} the template, was deleted"
    )
    stage = TemplatePhase.BUILDING if row.purpose == Purpose.TEMPLATE else TemplatePhase.VERIFYING
    values = {"phase": TemplatePhase.FAILED, "fault": fault_columns(fault), "failed_cluster": row.id}
    if await _move(transaction, row, stage, values):
        await remove_builders(transaction, row.template_id)


async def _move(transaction: Transaction, row: Row[Any], old: TemplatePhase, values: Mapping[str, object]) -> bool:
    """Whether the template was `old`, and now has `values`."""
    moved = update(templates).where(templates.c.id == row.template_id, templates.c.phase == old).values(values)
    transaction.wake(QUEUE)
    return bool((await transaction.execute(moved)).rowcount)


async def _keep_secrets(transaction: Transaction, row: Row[Any]) -> None:
    """Copy the builder's secrets to the template: forks begin with them, and the builder is removed."""
    own = select(tables.secrets.c.content).where(tables.secrets.c.cluster_id == row.id)
    sealed = (await transaction.execute(own)).scalar_one()
    text = transaction.secret_keys.open(sealed, OF_CLUSTERS.place(row.id))
    content = await transaction.seal(text, OF_TEMPLATES.place(row.template_id))
    await transaction.execute(insert(tables.template_secrets).values(template_id=row.template_id, content=content))


async def remove_builders(transaction: Transaction, template_id: str) -> None:
    builders = clusters.c.purpose.in_([Purpose.TEMPLATE, Purpose.VERIFICATION])
    await remove_clusters(transaction, and_(tables.OF_TEMPLATES, clusters.c.template_id == template_id, builders))
