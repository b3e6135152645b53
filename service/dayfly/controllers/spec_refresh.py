"""Resolves a stored specification again: its image may have been rebuilt, its add-ons or its template key changed.

Not here: what follows from that (templates.py, pools/controller.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from dayfly.domain.addon import AddonDefinition
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.domain.template import without_caller_options


@dataclass(frozen=True)
class SpecRefresher:
    """`resolve`: the content id and the manifest of the image at a reference. `key_of`: domain/template.template_key.

    Both raise ImageMissing, NotANodeImage and EngineUnavailable.
    """

    resolve: Callable[[str], Awaitable[tuple[str, ImageManifest]]]
    key_of: Callable[[ClusterSpec, str], Awaitable[str]]
    addons: Mapping[str, AddonDefinition] = field(default_factory=dict)
    """Those of this release: what it does not know stays as it is."""

    async def now(self, spec: ClusterSpec, owner: str) -> tuple[ClusterSpec, str]:
        """The specification without its caller's requests, with the present image and add-ons; the key of its template.

        Raises ImageMissing, NotANodeImage, EngineUnavailable.
        """
        image_id, manifest = await self.resolve(spec.image)
        known = self.addons
        addons = tuple(known[one.name].of_cluster() if one.name in known else one for one in spec.addons)
        present = {"image_id": image_id, "manifest": manifest, "addons": addons}
        current = without_caller_options(spec).model_copy(update=present)
        return current, await self.key_of(current, owner)
