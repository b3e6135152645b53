"""/v1/addons: what clusters can have beside their image. Not here: the add-ons of a cluster (api/clusters)."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from dayfly.api.dependencies import Services
from dayfly.schemas.addons import Addon, AddonList

router: Final = APIRouter(prefix="/v1/addons", tags=["addons"])


@router.get("", operation_id="listAddons")
async def list_addons(services: Services) -> AddonList:
    """List all add-ons, by name. Clusters get them by `addons` at creation, or later by PATCH.

    Those that are `pulled` are available when their manifests are on the server and nodes can pull their images.
    """
    found = []
    for name in sorted(services.addons):
        addon = services.addons[name]
        reason = services.why_addon_unavailable(addon)
        found.append(Addon.of(addon, available=reason is None, unavailable_because=reason))
    return AddonList(addons=tuple(found))
