"""Resolves a reference to a node image on the engine: its content id and its manifest."""

from __future__ import annotations

from pydantic import ValidationError

from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.image import SCHEMA_VERSION, ImageManifest
from dayfly.drivers.interfaces import ImageStore
from dayfly.errors import ImageMissing, NotANodeImage


async def resolve_image(images: ImageStore, reference: str) -> tuple[str, ImageManifest]:
    """The content id and the manifest of the image at a full reference.

    Raises ImageMissing, NotANodeImage, EngineUnavailable.
    """
    try:
        info = await images.inspect(reference)
    except ImageMissing as error:
        hint = f"{error.message}; `dayfly image list` shows what there is, `dayfly image bake` makes one"
        raise ImageMissing(hint) from error
    label = info.labels.get(LABEL_IMAGE)
    if label is None:
        raise NotANodeImage(f"{reference} is an image, but not one that Dayfly baked: it has no manifest")
    try:
        manifest = ImageManifest.model_validate_json(label)
    except ValidationError as error:
        raise NotANodeImage(f"the manifest of {reference} is not of a version that this Dayfly knows") from error
    if manifest.schema_version < SCHEMA_VERSION:
        raise NotANodeImage(f"{reference} was baked by an older Dayfly: `dayfly image bake` makes it anew")
    return info.id, manifest
