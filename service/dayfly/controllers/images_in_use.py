"""Tags each node image that a cluster, a template or a pool uses: bakes remove their former images without a look here.

The tag has the installation's name, so another installation on the same engine keeps the image, too. It is removed when
nothing uses the image any more. Not here: the removal of retired images (image_collection.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.domain.image_catalog import in_use_reference
from dayfly.errors import DayflyError, InfrastructureError
from dayfly.settings import Settings

_log = structlog.get_logger(__name__)

_BATCH_SECONDS: Final = 1.0
"""Batches the creation of many clusters into one look."""


@dataclass
class ImagesInUse:
    """Every worker process runs it; each look may be repeated."""

    settings: Settings
    catalog: ImageCatalog
    clock: Clock
    _seen: frozenset[str] | None = field(default=None, init=False)
    """The images that were in use at the last complete look."""
    _seen_at: float = field(default=0.0, init=False)

    async def run(self) -> None:
        """Until cancelled."""
        with self.catalog.store.watch_queue() as watch:
            while True:
                try:
                    await self.look()
                except DayflyError as error:
                    _log.warning("cannot tag the images in use", code=error.code, reason=error.for_operator)
                await self.clock.sleep(_BATCH_SECONDS)
                await watch.wait(self.settings.survey_seconds)

    async def look(self) -> None:
        """Tag what is in use, and remove the tag of what is not. Raises EngineUnavailable, DatabaseUnavailable."""
        used, now = await self.catalog.store.image_uses.ids(), self.clock.monotonic()
        if used == self._seen and now - self._seen_at < self.settings.survey_seconds:
            return  # the engine is asked only for a change, and from time to time
        for image in await self.catalog.present():
            tag = in_use_reference(self.settings.instance, image.id)
            if (image.id in used) == (tag in image.references):
                continue
            try:
                if image.id in used:
                    await self.catalog.images.tag(image.id, tag)
                # Once more: with its last tag the image goes.
                elif image.id not in await self.catalog.store.image_uses.ids():
                    await self.catalog.images.remove(tag)
            except InfrastructureError:
                raise
            except DayflyError as error:
                _log.warning("an image in use cannot be tagged", image=image.id, code=error.code)
        self._seen, self._seen_at = used, now
