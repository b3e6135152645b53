"""Resolves a stored specification again: its image may have been rebuilt, its add-ons or its template key changed.

Not here: what follows from that (templates.py, pools/controller.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from dayfly.domain.addon import Addon, AddonDefinition
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.domain.template import without_caller_options
from dayfly.errors import AddonUnavailable


@dataclass(frozen=True)
class SpecRefresher:
    """`resolve`: the content id and the manifest of the image at a reference. `key_of`: domain/template.template_key.

    Both raise ImageMissing, NotANodeImage and EngineUnavailable.
    """

    resolve: Callable[[str], Awaitable[tuple[str, ImageManifest]]]
    key_of: Callable[[ClusterSpec, str], Awaitable[str]]
    addons: Mapping[str, AddonDefinition] = field(default_factory=dict)
    """Those of this release: what it does not know stays as it is."""
    complete: Callable[[AddonDefinition], Addon] = AddonDefinition.of_cluster
    """The add-on as a cluster gets it. Raises AddonUnavailable: then it stays as it is, too."""

    async def now(self, spec: ClusterSpec, owner: str) -> tuple[ClusterSpec, str]:
        """The specification without its caller's requests, with the present image and add-ons; the key of its template.

        Raises ImageMissing, NotANodeImage, EngineUnavailable.
        """
        image_id, manifest = await self.resolve(spec.image)
        addons = tuple([await asyncio.to_thread(self._present, addon) for addon in spec.addons])
        present = {"image_id": image_id, "manifest": manifest, "addons": addons}
        current = without_caller_options(spec).model_copy(update=present)
        return current, await self.key_of(current, owner)

    def _present(self, addon: Addon) -> Addon:
        known = self.addons.get(addon.name)
        if known is None:
            return addon
        try:
            return self.complete(known)
        except AddonUnavailable:
            return addon
