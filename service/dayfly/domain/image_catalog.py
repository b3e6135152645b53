"""The catalog of node images: names that callers use, and the image that each name stands for. Values and rules.

An image's digest is its content id. A name stands for the image that was promoted last; a name without promotions
stands for the image that its last bake or pull tagged `latest`.
Not here: the manifest (image.py); how the engine is asked (controllers/image_catalog.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dayfly.domain.cluster.naming import split_tag
from dayfly.domain.image import ImageContents, ImageManifest
from dayfly.vocabulary import IMAGE_ID, IMAGE_NAME, IMAGE_VERSION, ImageEvent, ImageState

_REPOSITORY: Final = "dayfly/"
_IN_USE: Final = f"{_REPOSITORY}in-use:"
_OWN_TAG: Final = re.compile(r"latest|[0-9a-f]{12}|promoted-[0-9a-f]{12}")
"""The tags of a bake or a pull (images/), and those that keep promoted images."""
_MOVES: Final = frozenset({ImageEvent.PROMOTED, ImageEvent.ROLLED_BACK})


@dataclass(frozen=True)
class EngineImage:
    """A node image on the engine. Size in bytes; `created_at`: when it was baked."""

    id: str
    references: tuple[str, ...]
    manifest: ImageManifest
    size_bytes: int
    created_at: datetime
    contents: ImageContents | None = None

    @property
    def names(self) -> frozenset[str]:
        """The names under which this installation baked, pulled or promoted it."""
        return frozenset(name for name in map(own_name, self.references) if name is not None)

    @property
    def version(self) -> str | None:
        return self.manifest.kubernetes.version if self.manifest.kubernetes else None


@dataclass(frozen=True)
class ImageRecord:
    """What the store knows of an image that was promoted or retired once; an image without a record is present."""

    id: str
    name: str
    manifest: ImageManifest
    size_bytes: int
    created_at: datetime
    retired_at: datetime | None = None
    removing_at: datetime | None = None
    """Its removal from the engine has begun: it cannot be promoted any more."""
    collected_at: datetime | None = None

    @property
    def state(self) -> ImageState:
        if self.collected_at is not None:
            return ImageState.COLLECTED
        return ImageState.PRESENT if self.retired_at is None else ImageState.RETIRED


@dataclass(frozen=True)
class ImageChange:
    """One line of a name's history. `former`: of a promotion or a rollback, the id of the move that a rollback of it
    returns to.
    """

    id: int
    name: str
    image_id: str
    event: ImageEvent
    at: datetime
    former: int | None = None


@dataclass(frozen=True)
class ImageUse:
    """How many clusters that are not deleted, templates and pools use an image."""

    clusters: int = 0
    templates: int = 0
    pools: int = 0


@dataclass(frozen=True)
class ImageOutcomes:
    """Of the clusters made of an image: how many were ready at least once, how many failed, how many did either."""

    ready: int = 0
    failed: int = 0
    ended: int = 0

    @property
    def failure_rate(self) -> float | None:
        return self.failed / self.ended if self.ended else None


@dataclass(frozen=True)
class NameReference:
    """A reference to the image of a name: the one of `digest`, else the promoted one of `version`, else of the name."""

    name: str
    version: str | None = None
    digest: str | None = None

    @property
    def moves(self) -> bool:
        """Whether another promotion, or a bake, may change its meaning."""
        return self.digest is None


def own_name(reference: str) -> str | None:
    """The name in a reference that a bake, a pull or a promotion gave; None: another gave it."""
    repository, tag = split_tag(reference)
    name = repository.removeprefix(_REPOSITORY)
    if "@" in reference or not repository.startswith(_REPOSITORY) or not IMAGE_NAME.fullmatch(name):
        return None
    return name if _OWN_TAG.fullmatch(tag) else None


def latest_reference(name: str) -> str:
    return f"{_REPOSITORY}{name}:latest"


def kept_reference(name: str, image_id: str) -> str:
    """The tag that keeps a promoted image, when later bakes remove their own tags of older images."""
    return f"{_REPOSITORY}{name}:promoted-{image_id.rpartition(':')[2][:12]}"


def in_use_reference(instance: str, image_id: str) -> str:
    """The tag that keeps an image while a cluster, a template or a pool of the installation uses it."""
    return f"{_IN_USE}{instance}-{image_id.rpartition(':')[2][:12]}"


def is_in_use_reference(reference: str, instance: str | None = None) -> bool:
    """Whether it is such a tag; of the installation, or of any."""
    digits = reference.removeprefix(_IN_USE if instance is None else f"{_IN_USE}{instance}-")
    return digits != reference and (instance is None or "-" not in digits)


def parse_reference(reference: str) -> NameReference | None:
    """Of a full reference (naming.image_reference); None: a tag, or another repository: the engine knows the image."""
    repository, at, selector = reference.partition("@")
    name, tag = split_tag(repository)
    name = name.removeprefix(_REPOSITORY)
    if not repository.startswith(_REPOSITORY) or not IMAGE_NAME.fullmatch(name) or tag != "latest":
        return None
    if not at:
        return NameReference(name)
    if IMAGE_ID.fullmatch(selector):
        return NameReference(name, digest=selector)
    return NameReference(name, version=selector) if IMAGE_VERSION.fullmatch(selector) else None


def is_fixed(reference: str) -> bool:
    """Whether what uses an image by this reference keeps the image when names move."""
    parsed = parse_reference(reference)
    return parsed is None or not parsed.moves


def has_version(version: str | None, prefix: str) -> bool:
    """`v1.35.2` has `1.35`, but not `1.3`."""
    if version is None:
        return False
    wanted = prefix.removeprefix("v").split(".")
    return version.removeprefix("v").split(".")[: len(wanted)] == wanted


def promoted_line(changes: Iterable[ImageChange]) -> tuple[ImageChange, ...]:
    """Of one name's changes, oldest first: the present promotion, then the one that a rollback returns to, and so on.

    Empty: nothing was ever promoted. A promotion that was rolled back is not in the line.
    """
    moves = {change.id: change for change in changes if change.event in _MOVES}
    line: list[ImageChange] = []
    following = max(moves, default=None)
    while following is not None:
        line.append(moves[following])
        following = moves[following].former
    return tuple(line)


def rollback_target(
    line: Sequence[ImageChange], present: Collection[str], retired: Collection[str]
) -> ImageChange | None:
    """The move that a rollback returns to: the nearest former one of another image that is there and not retired."""
    for change in line[1:]:
        if change.image_id != line[0].image_id and change.image_id in present and change.image_id not in retired:
            return change
    return None


def obsolete_changes(
    changes: Sequence[ImageChange], before: datetime, collected: Collection[str]
) -> tuple[frozenset[int], Mapping[int, int | None]]:
    """Of one name's changes: the ids of those that were made before that time and that no rollback needs.

    The promotion of the present image stays, and the nearest one of each other image that is not `collected`. Also:
    each move that stays in the line, with the id of the one that a rollback of it returns to from then on.
    """
    line: list[ImageChange] = []
    for change in promoted_line(changes):
        needed = change.image_id not in {one.image_id for one in line} and change.image_id not in collected
        if not line or needed or change.at >= before:
            line.append(change)
    staying = {change.id for change in line}
    obsolete = frozenset(change.id for change in changes if change.at < before and change.id not in staying)
    formers = (*(change.id for change in line[1:]), None)
    return obsolete, {change.id: former for change, former in zip(line, formers, strict=False)}


def by_name(changes: Iterable[ImageChange]) -> Mapping[str, tuple[ImageChange, ...]]:
    """Each name's changes, in their order."""
    found: dict[str, list[ImageChange]] = {}
    for change in changes:
        found.setdefault(change.name, []).append(change)
    return {name: tuple(of_name) for name, of_name in found.items()}


def image_of_version(
    name: str, version: str, line: Sequence[ImageChange], images: Sequence[EngineImage], usable: Callable[[str], bool]
) -> EngineImage | None:
    """What `NAME@VERSION` stands for: of `line` the nearest image of the version, without promotions the newest one.

    Images that are not `usable` are passed over.
    """
    fitting = {image.id: image for image in images if has_version(image.version, version) and usable(image.id)}
    if line:
        return next((fitting[change.image_id] for change in line if change.image_id in fitting), None)
    latest = latest_reference(name)
    named = [image for image in fitting.values() if name in image.names]
    return max(named, key=lambda image: (latest in image.references, image.created_at, image.id), default=None)


def is_collectable(image: EngineImage) -> bool:
    """Whether all of its references are this installation's own: else it is another's image, too, and stays."""
    return all(own_name(reference) is not None for reference in image.references)
