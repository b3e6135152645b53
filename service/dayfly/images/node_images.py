"""Node images on the engine and in registries: listed, resolved, pushed, pulled. Not here: bakes (bake.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from dayfly.domain.cluster.naming import LABEL_IMAGE, image_reference
from dayfly.domain.image import SCHEMA_VERSION, ImageManifest
from dayfly.drivers.interfaces import ImageInfo, ImageStore, TransferProgress
from dayfly.errors import ImageMissing, NotANodeImage

OnProgress = Callable[[TransferProgress], None]


@dataclass(frozen=True)
class NodeImage:
    """A node image on the engine, and its manifest."""

    info: ImageInfo
    manifest: ImageManifest


async def list_images(images: ImageStore) -> tuple[NodeImage, ...]:
    """All node images of this engine, the newest first, without those whose manifest this version cannot read."""
    found = []
    for info in await images.list(label=LABEL_IMAGE):
        try:
            found.append(NodeImage(info, ImageManifest.model_validate_json(info.labels[LABEL_IMAGE])))
        except ValidationError:
            continue
    return tuple(sorted(found, key=lambda image: image.info.created_at, reverse=True))


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


async def push_image(images: ImageStore, name: str, target: str, on_progress: OnProgress) -> None:
    """Push the node image `name` to a registry as `target` (`host:port/repository:tag`); leaves no new tag.

    Raises ImageMissing, NotANodeImage, EngineRefused, EngineUnavailable.
    """
    info = await images.inspect(image_reference(name))
    _require_node_image(info, name)
    existed = target in info.references
    await images.tag(info.id, target)
    try:
        async for progress in images.push(target):
            on_progress(progress)
    finally:
        if not existed:
            await images.remove(target)


async def pull_image(images: ImageStore, source: str, on_progress: OnProgress) -> NodeImage:
    """Pull a node image from a registry and tag it `dayfly/<recipe>:<digest>` and `:latest`.

    Raises NotANodeImage (the pulled image is removed again), ImageMissing, EngineRefused, EngineUnavailable.
    """
    async for progress in images.pull(source):
        on_progress(progress)
    info = await images.inspect(source)
    try:
        manifest = _require_node_image(info, source)
    except NotANodeImage:
        await images.remove(source)
        raise
    for tag in (manifest.digest[:12], "latest"):
        await images.tag(info.id, f"dayfly/{manifest.recipe}:{tag}")
    await images.remove(source)
    return NodeImage(await images.inspect(info.id), manifest)


def _require_node_image(info: ImageInfo, name: str) -> ImageManifest:
    label = info.labels.get(LABEL_IMAGE)
    if label is None:
        raise NotANodeImage(f"{name} is an image, but not a node image: it has no label {LABEL_IMAGE}")
    try:
        return ImageManifest.model_validate_json(label)
    except ValidationError as error:
        raise NotANodeImage(
            f"{name} was baked by another version of Dayfly, and this version cannot read its manifest: {error}"
        ) from error
