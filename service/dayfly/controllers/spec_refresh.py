"""Resolves a stored specification again: its image may have been rebuilt, and its template key may have changed.

Not here: what follows from that (templates.py, pools/controller.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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

    async def now(self, spec: ClusterSpec, owner: str) -> tuple[ClusterSpec, str]:
        """The specification without its caller's requests, with the present image; and the key of its template.

        Raises ImageMissing, NotANodeImage, EngineUnavailable.
        """
        image_id, manifest = await self.resolve(spec.image)
        current = without_caller_options(spec).model_copy(update={"image_id": image_id, "manifest": manifest})
        return current, await self.key_of(current, owner)
