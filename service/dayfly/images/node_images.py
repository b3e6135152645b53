"""Node images on the engine and in registries: listed, resolved, pushed, pulled.

Not here: bakes (bake.py), and what a promoted name stands for (controllers/image_catalog.py).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import ValidationError

from dayfly.domain.cluster.naming import LABEL_IMAGE, image_reference, split_tag
from dayfly.domain.image import SCHEMA_VERSION, ImageManifest
from dayfly.drivers.interfaces import ImageInfo, ImageStore, TransferProgress
from dayfly.errors import BadName, EngineRefused, ImageMissing, NotANodeImage
from dayfly.vocabulary import IMAGE_REFERENCE

_NAME: Final = re.compile(r"(?=.{1,40}$)[a-z0-9]+((\.|-+)[a-z0-9]+)*")
_DIGEST: Final = re.compile(r"[0-9a-f]{12,64}")
_RESERVED: Final = frozenset({"service", "toolbox", "postgres", "baker", "in-use"})
"""Repositories of Dayfly's own images under `dayfly/`, with `*-base` and `test-*`."""

_PUBLIC: Final = frozenset({"docker.io", "index.docker.io"})
"""Docker leaves these hosts out of the names of images."""

_ATTEMPTS: Final = 3
_CUT_OFF: Final = (
    *("unexpected eof", "connection reset", "broken pipe", "i/o timeout", "handshake timeout"),
    *("http status: 500", "http status: 502", "http status: 503", "http status: 504"),
)
"""In the engine's words: the registry, or the way to it, failed in the middle."""

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


async def find_image(images: ImageStore, reference: str) -> str | None:
    """The content id of any image; None: it is not on the engine."""
    try:
        return (await images.inspect(reference)).id
    except ImageMissing:
        return None


async def resolve_image(images: ImageStore, reference: str) -> tuple[str, ImageManifest]:
    """The content id and the manifest of the image at a full reference.

    Raises ImageMissing, NotANodeImage, EngineUnavailable.
    """
    try:
        info = await images.inspect(reference)
    except ImageMissing as error:
        hint = "`dayfly image list` shows what there is, `dayfly image bake` makes one"
        raise ImageMissing(f"there is no image {reference} on this engine; {hint}") from error
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


async def ensure_image(images: ImageStore, source: str, on_progress: OnProgress) -> tuple[str, ImageManifest]:
    """The content id and the manifest of the image `source`, a registry's by digest; pulled if it is missing.

    It gets no other name. Raises BadName, NotANodeImage (a pulled image is removed again), ImageMissing,
    RegistryRefused, EngineRefused, EngineUnavailable.
    """
    _check_source(source)
    existed = await find_image(images, source) is not None
    if not existed:
        await _transfer(partial(images.pull, source), on_progress)
    try:
        found = await resolve_image(images, source)
        _bake(found[1], source)
    except NotANodeImage:
        if not existed:
            await images.remove(source)
        raise
    return found


async def push_image(images: ImageStore, name: str, target: str, on_progress: OnProgress) -> None:
    """Push the node image `name` to a registry as `target` (`host:port/repository:tag`); leaves no new tag.

    Raises BadName, ImageMissing, NotANodeImage, EngineRefused, EngineUnavailable.
    """
    _check_target(target)
    reference = image_reference(name)
    try:
        info = await images.inspect(reference)
    except ImageMissing as error:
        hint = "`dayfly image list` shows what there is"
        raise ImageMissing(f"there is no image {reference} on this engine; {hint}") from error
    _require_node_image(info, name)
    existed = target in info.references
    await images.tag(info.id, target)
    try:
        await _transfer(partial(images.push, target), on_progress)
    finally:
        if not existed:
            await images.remove(target)


async def pull_image(images: ImageStore, source: str, on_progress: OnProgress, *, name: str | None = None) -> NodeImage:
    """Pull a node image from a registry and tag it `dayfly/<name>:<digest>` and `:latest`.

    `source` begins with a registry's host; the engine verifies a digest in it. `name`: None: that of its recipe, if
    it is the last part of the repository in `source`: an image must not choose which image of this engine it replaces.
    Raises BadName, NotANodeImage (the pulled image is removed again), ImageMissing, EngineRefused, EngineUnavailable.
    """
    _check_source(source)
    if name is not None:
        check_name(name)
    existed = await find_image(images, source) is not None
    await _transfer(partial(images.pull, source), on_progress)
    info = await images.inspect(source)
    try:
        manifest = _require_node_image(info, source)
        tags = [f"dayfly/{name or _own_name(manifest, source)}:{tag}" for tag in (_bake(manifest, source), "latest")]
    except (NotANodeImage, BadName):
        if not existed:
            await images.remove(source)
        raise
    for tag in tags:
        await images.tag(info.id, tag)
    if not existed:
        await images.remove(source)
    return NodeImage(await images.inspect(info.id), manifest)


async def _transfer(begin: Callable[[], AsyncIterator[TransferProgress]], on_progress: OnProgress) -> None:
    """Push or pull. A transfer that was cut off is resumed: engines and registries keep complete layers.

    Without a pause: the engine has made pauses of its own before it gives up.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async for progress in begin():
                on_progress(progress)
        except EngineRefused as error:
            detail = f"{error.message} {error.operator_detail}".lower()
            if attempt == _ATTEMPTS or not any(words in detail for words in _CUT_OFF):
                raise
            on_progress(TransferProgress("", f"cut off: attempt {attempt + 1} of {_ATTEMPTS}"))
        else:
            return


def _check_target(target: str) -> None:
    """Raises BadName for what no image can be tagged as."""
    if not IMAGE_REFERENCE.fullmatch(target) or "@" in target or target.startswith("sha256:"):
        raise BadName(f"{target!r} is not a reference to push an image to, such as lab:5000/dayfly/bare:1")


def _check_source(source: str) -> None:
    """Raises BadName for what names no registry: the engine would ask a public one, and move a tag of Dayfly's."""
    host, slash, _ = source.partition("/")
    if not (IMAGE_REFERENCE.fullmatch(source) and slash and (host == "localhost" or {".", ":"} & {*host})):
        raise BadName(f"{source!r} is not the reference of an image in a registry, such as lab:5000/dayfly/bare:1")
    if host in _PUBLIC:
        raise BadName(f"{source}: the engine calls images of {host} as it calls its own; pull from another registry")


def _own_name(manifest: ImageManifest, source: str) -> str:
    check_name(manifest.recipe)
    last = split_tag(source)[0].rpartition("/")[2]
    if last != manifest.recipe:
        raise BadName(f"the image at {source} is of recipe {manifest.recipe}, not {last}: choose its name with --as")
    return manifest.recipe


def _bake(manifest: ImageManifest, source: str) -> str:
    """The tag that names the bake."""
    if not _DIGEST.fullmatch(manifest.digest):
        raise NotANodeImage(f"the manifest of {source} has no valid digest")
    return manifest.digest[:12]


def check_name(name: str) -> None:
    """Raises BadName for what no node image may be called."""
    if not _NAME.fullmatch(name):
        raise BadName(
            f"{name!r} cannot be the name of a node image: 1 to 40 lower-case letters, digits, hyphens and dots"
        )
    if name in _RESERVED or name.endswith("-base") or name.startswith("test-"):
        raise BadName(f"{name} cannot be the name of a node image: dayfly/{name} is an image of Dayfly's own")


def _require_node_image(info: ImageInfo, name: str) -> ImageManifest:
    label = info.labels.get(LABEL_IMAGE)
    if label is None:
        raise NotANodeImage(f"{name} is an image, but not a node image: it has no label {LABEL_IMAGE}")
    try:
        return ImageManifest.model_validate_json(label)
    except ValidationError as error:
        raise NotANodeImage(
            f"{name} was baked by another version of Dayfly, and this version cannot read its manifest"
        ) from error
