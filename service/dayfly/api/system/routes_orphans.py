"""/v1/orphans: objects on the engine that no living cluster or template owns. See also controllers/gc.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dayfly.api.dependencies import Services
from dayfly.domain import engine_resource as domain

router: Final = APIRouter(prefix="/v1/orphans", tags=["system"])


class Orphan(BaseModel):
    kind: str = Field(description="`container`, `network` or `volume`.")
    name: str = Field(description="Its name on the engine.")
    cluster: str | None = Field(description="The id of the cluster that it was of.")
    template: str | None = Field(description="The id of the template that it was of.")
    why: str = Field(description="How it is known that nothing owns it.")
    error: str | None = Field(default=None, description="Why it could not be removed; it is still there.")


class OrphanList(BaseModel):
    orphans: list[Orphan]


@router.get("", operation_id="listOrphans")
async def list_orphans(services: Services) -> OrphanList:
    """Containers, networks and volumes with this installation's label that no living cluster or template owns."""
    return _show(await services.find_orphans())


@router.delete("", operation_id="removeOrphans")
async def remove_orphans(services: Services) -> OrphanList:
    """Remove orphans now. Workers do so by themselves; after a grace period where the owner was never on record."""
    return _show(await services.remove_orphans())


def _show(found: Sequence[domain.Orphan]) -> OrphanList:
    return OrphanList(
        orphans=[
            Orphan(
                kind=one.resource.kind,
                name=one.resource.name,
                cluster=one.resource.cluster_id or None,
                template=one.resource.template_id or None,
                why=one.why,
                error=one.error,
            )
            for one in found
        ]
    )
