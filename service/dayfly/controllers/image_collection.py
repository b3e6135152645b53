"""Removes retired images from the engine, when nothing has used them for a time. A part of garbage collection (gc.py).

An image goes only if this installation gave all of its references, and no cluster, template or pool uses it. Where the
engine refuses, because another installation's container uses the image, its tags are restored. Not here: which images
are retired (store/image_catalog.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from dayfly import metrics
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.domain.image_catalog import EngineImage, ImageRecord, is_collectable
from dayfly.errors import DayflyError, ImageMissing, InfrastructureError
from dayfly.images.node_images import find_image
from dayfly.settings import Settings

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ImageCollector:
    settings: Settings
    catalog: ImageCatalog

    async def look(self) -> None:
        """Remove what is due. Raises EngineUnavailable, DatabaseUnavailable."""
        due = await self.catalog.store.images.due_for_removal(self.settings.retired_image_seconds)
        if not due:
            return
        present = {image.id: image for image in await self.catalog.present()}
        for record in due:
            image = present.get(record.id)
            if image is not None and not is_collectable(image):
                continue
            if await self.catalog.store.images.begin_removal(record.id):
                await self._remove(record)

    async def _remove(self, record: ImageRecord) -> None:
        store = self.catalog.store.images
        try:
            # As it is now: the images before it took their time, and bakes and pulls move tags meanwhile.
            image = next((one for one in await self.catalog.present() if one.id == record.id), None)
            if image is not None and not is_collectable(image):
                await store.keep(record.id)
                return
            if image is not None:
                await self._untag(image)
        except InfrastructureError:
            raise  # the next sweep continues
        except DayflyError as error:
            await store.keep(record.id)
            _log.warning("a retired image cannot be removed yet", image=record.id, code=error.code)
            return
        if await store.removed(record.id):
            metrics.images_collected.inc()
            _log.info("retired image removed", image=record.id, name=record.name)

    async def _untag(self, image: EngineImage) -> None:
        """Raises EngineRefused, NotRemoved: then the image has its tags, but for those that another image got."""
        images = self.catalog.images
        try:
            for reference in image.references:
                if await find_image(images, reference) == image.id:
                    await images.remove(reference)
            await images.remove(image.id)
        except InfrastructureError:
            raise
        except DayflyError:
            for reference in image.references:
                try:
                    if await find_image(images, reference) is None:
                        await images.tag(image.id, reference)
                except ImageMissing:
                    return  # it is gone all the same
            raise
