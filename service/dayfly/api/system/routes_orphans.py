"""/v1/orphans: objects on the engine that no living cluster or template owns. See also controllers/gc.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter

from dayfly.api.dependencies import Services
from dayfly.domain import engine_resource as domain
from dayfly.schemas.system import Orphan, OrphanList

router: Final = APIRouter(prefix="/v1/orphans", tags=["system"])


@router.get("", operation_id="listOrphans")
async def list_orphans(services: Services) -> OrphanList:
    """List orphans: containers, networks and volumes with this installation's label, without a living owner."""
    return _show(await services.find_orphans())


@router.delete("", operation_id="removeOrphans")
async def remove_orphans(services: Services) -> OrphanList:
    """Remove orphans now. Workers remove orphans, too; those without any record of an owner after a grace period."""
    return _show(await services.remove_orphans())


def _show(found: Sequence[domain.Orphan]) -> OrphanList:
    return OrphanList(
        orphans=tuple(
            Orphan(
                kind=one.resource.kind,
                name=one.resource.name,
                cluster=one.resource.cluster_id or None,
                template=one.resource.template_id or None,
                why=one.why,
                error=one.error,
            )
            for one in found
        )
    )
