"""The container image of a node: the toolbox, a disk with its kernel and initrd, and the label that says what it is.

Also here: which of a recipe's former images stay. Not here: when an image is made, verified and named (bake.py).
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.image import ImageManifest
from dayfly.drivers.interfaces import ImageBuilder, ImageStore
from dayfly.errors import EngineRefused
from dayfly.images.disk import FILES

LABEL_TOOLBOX: Final = "dayfly.toolbox"
TAG_LENGTH: Final = 12
"""How much of a digest is in a tag."""
_KEEP: Final = 2


async def build_image(
    builder: ImageBuilder, *, toolbox: str, disk: Path, scratch: Path, reference: str, manifest: ImageManifest
) -> str:
    """Make `reference` of the image `toolbox` and the files of the folder `disk`; its content id.

    `scratch` is an empty folder on the file system of `disk`. Raises as ImageBuilder.add_files.
    """
    (scratch / "dayfly").mkdir()
    for name in FILES:
        (scratch / "dayfly" / name).hardlink_to(disk / name)
    return await builder.add_files(toolbox, scratch, reference, labels={LABEL_IMAGE: manifest.model_dump_json()})


async def remove_former(images: ImageStore, repository: str, *, label: str, current: str) -> None:
    """Of the images named `repository:<digest>`, keep `current` (an id) and the newest other; one in use stays, too."""
    digest_tag = re.compile(rf"{re.escape(repository)}:[0-9a-f]{{{TAG_LENGTH}}}")
    former = [
        (image.created_at, name)
        for image in await images.list(label=label)
        for name in image.references
        if digest_tag.fullmatch(name) and image.id != current
    ]
    for _, name in sorted(former, reverse=True)[_KEEP - 1 :]:
        # A cluster runs from it: it goes with a later bake.
        with suppress(EngineRefused):
            await images.remove(name)
