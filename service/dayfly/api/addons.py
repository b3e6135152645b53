"""/v1/addons: what clusters can have beside their image. Not here: the add-ons of a cluster (api/clusters)."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from dayfly.api.dependencies import Services
from dayfly.schemas.addons import Addon, AddonList

router: Final = APIRouter(prefix="/v1/addons", tags=["addons"])


@router.get("", operation_id="listAddons")
async def list_addons(services: Services) -> AddonList:
    """List all add-ons, by name. Clusters get them by `addons` at creation, or later by PATCH."""
    return AddonList(addons=tuple(Addon.of(services.addons[name]) for name in sorted(services.addons)))
