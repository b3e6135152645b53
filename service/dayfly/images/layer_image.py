"""The container image of a layer: the image below, one more disk, and a manifest of its own.

Not here: the disk (layer_disk.py), when an image is made, verified and named (bake.py).
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

from dayfly.domain.addon import Addon
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.image import ImageManifest
from dayfly.drivers.interfaces import ImageBuilder
from dayfly.errors import BakeFailed
from dayfly.images.recipe import Recipe

_PLAIN_PATH: Final = re.compile(r"(/[A-Za-z0-9._-]+){2,}")


def layer_manifest(recipe: Recipe, addons: tuple[Addon, ...], below: ImageManifest, digest: str) -> ImageManifest:
    """The manifest of the layer `recipe` over an image with the manifest `below`. Raises BakeFailed."""
    kubernetes = below.kubernetes
    # The label may be another's: the layer's disk is written below a folder of the bake, under this path.
    if not _PLAIN_PATH.fullmatch(below.disk) or ".." in PurePosixPath(below.disk).parts:
        raise BakeFailed(f"the image below has its disk at {below.disk!r}: a layer needs a path such as /dayfly/disk")
    if addons and kubernetes is None:
        raise BakeFailed(f"recipe {recipe.name} has manifests or add-ons, and the image below has no Kubernetes")
    if both := {addon.name for addon in addons} & {addon.name for addon in below.addons}:
        raise BakeFailed(f"recipe {recipe.name}: the image below has the add-on {min(both)} already")
    return below.model_copy(
        update={
            "recipe": recipe.name,
            # Its backing file is in the same folder.
            "disk": str(PurePosixPath(below.disk).with_name(f"{digest[:12]}.qcow2")),
            "kernel_arguments": (*below.kernel_arguments, *recipe.kernel_arguments),
            "control_plane": recipe.control_plane,
            "worker": recipe.worker,
            "minimum": recipe.minimum,
            "verify": (*below.verify, *recipe.verify),
            "digest": digest,
            "parents": (below.digest, *below.parents),
            "parent_recipes": (below.recipe, *below.parent_recipes),
            "addons": (*below.addons, *addons),
        }
    )


async def build_layer_image(
    builder: ImageBuilder, *, below: str, disk: Path, scratch: Path, reference: str, manifest: ImageManifest
) -> str:
    """Make `reference` of the image `below` and the layer's `disk`; its content id.

    `scratch` is an empty folder on the file system of `disk`. Raises as ImageBuilder.add_files.
    """
    place = scratch / PurePosixPath(manifest.disk).relative_to("/")
    place.parent.mkdir(parents=True)
    place.hardlink_to(disk)
    return await builder.add_files(below, scratch, reference, labels={LABEL_IMAGE: manifest.model_dump_json()})
