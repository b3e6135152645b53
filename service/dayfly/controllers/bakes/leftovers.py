"""Removes what an ended bake may have left: its unfinished image, the cluster that verified it, folders of the cache.

A bake removes these itself; here for bakes whose process was killed, and whose own removal failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dayfly.clock import Clock
from dayfly.domain.bake import verification_cluster
from dayfly.drivers.interfaces import ContainerEngine, ImageStore
from dayfly.images.bake import image_lock, unfinished_image
from dayfly.images.cache import Cache
from dayfly.steps.teardown import remove_everything


@dataclass(frozen=True)
class Leftovers:
    """`engine`: with the instance that verifications have."""

    engine: ContainerEngine
    images: ImageStore
    cache_dir: Path
    clock: Clock

    async def remove(self, recipe: str) -> None:
        """Wait for other bakes of the recipe, then remove everything. May be repeated.

        Raises EngineUnavailable, NotRemoved, EngineRefused, and BakeFailed for a cache that cannot be used.
        """
        async with Cache(self.cache_dir, self.clock) as cache, cache.alone(image_lock(recipe), lambda: None):
            await remove_everything(self.engine, verification_cluster(recipe))
            await self.images.remove(unfinished_image(recipe))
