"""Which of a recipe's former images a bake removes. Not here: retired images (controllers/image_collection.py)."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.drivers.interfaces import ImageStore
from dayfly.errors import EngineRefused
from dayfly.images.container import TAG_LENGTH

_KEEP: Final = 2


async def remove_former_images(images: ImageStore, repository: str, *, current: str) -> None:
    """Of the images whose only names are `repository:<digest>`, keep `current` (an id) and the newest other.

    An image with another name stays with all of its names: that name says that the image is the last one, promoted, in
    use (controllers/images_in_use.py), or an operator's. An image that a container uses stays, too.
    """
    digest_tag = re.compile(rf"{re.escape(repository)}:[0-9a-f]{{{TAG_LENGTH}}}")
    former = [
        (image.created_at, image.references)
        for image in await images.list(label=LABEL_IMAGE)
        if image.id != current and image.references and all(map(digest_tag.fullmatch, image.references))
    ]
    for _, references in sorted(former, reverse=True)[_KEEP - 1 :]:
        for name in references:
            # A cluster runs from it: it goes with a later bake.
            with suppress(EngineRefused):
                await images.remove(name)
