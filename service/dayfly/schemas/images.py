"""Node images over HTTP: requests and responses. Not here: bakes."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import Field

from dayfly.schemas.base import Open, RequestModel, ResponseModel
from dayfly.vocabulary import NODE_IMAGE, ImageEvent, ImageState

_IMAGE_PATTERN: Final = rf"^(?:{NODE_IMAGE.pattern}|(sha256:)?[0-9a-f]{{12,64}})$"
_IMAGE: Final = "A digest, or its first 12 digits; or a reference (`k8s-debian:0123456789ab`, `k8s@1.35`)."


class ImageUse(ResponseModel):
    """What uses an image now."""

    clusters: int = Field(description="Clusters that are not deleted, those of templates and pools included.")
    templates: int = Field(description="Templates that are saved, or are being saved.")
    pools: int = Field(description="Pools whose reference stands for this image.")


class ImageOutcomes(ResponseModel):
    """How clusters made of an image went: those that were created within the window and are on record."""

    window_seconds: int
    ready: int = Field(description="Clusters that were ready at least once.")
    failed: int = Field(description="Clusters that failed, before or after they were ready.")
    failure_rate: float | None = Field(
        description="The failed ones' share of all that were ready or failed; null: there are none."
    )


class NodeImage(ResponseModel):
    """One image under one of its names. The manifest of the image says most of this."""

    name: str = Field(description="The name that callers use, or the full reference of an image without such a name.")
    digest: str = Field(description="The engine's content id: a cluster's `image_id`.")
    references: tuple[str, ...] = Field(description="Its tags on the engine.")
    state: Open[ImageState] = Field(
        description="`present`; `retired`: no new cluster may use it; `collected`: it is removed from the engine."
    )
    promoted: bool = Field(description="The name stands for this image, by promotion.")
    current: bool = Field(
        description="Clusters that callers create by the name get this image: it is promoted, or, where nothing was "
        "ever promoted, the last that was baked or pulled."
    )
    recipe: str
    base: str | None = Field(
        description="The base that it was baked on; of an image that does not say, the base of its recipe as this "
        "server has it; null: not known."
    )
    kubernetes_version: str | None
    packages: dict[str, str] | None = Field(
        description="The distribution's packages on its nodes: name → version; null: the image does not say, because "
        "an older release baked it, or it is collected."
    )
    addons: tuple[str, ...] = Field(description="Add-ons whose container images are inside.")
    parents: tuple[str, ...] = Field(
        description="The digests of the bakes of the images below a layer, the nearest first."
    )
    size_bytes: int
    created_at: datetime = Field(description="When it was baked.")
    age_seconds: float
    retired_at: datetime | None
    collected_at: datetime | None
    use: ImageUse
    outcomes: ImageOutcomes


class ImageList(ResponseModel):
    """Node images, by name, the newest of a name first."""

    images: tuple[NodeImage, ...]


class ImageHistoryEntry(ResponseModel):
    """A change of a name or of one of its images."""

    at: datetime
    event: Open[ImageEvent]
    digest: str


class ImageName(ResponseModel):
    """A name of node images: what it stands for, its images, and its history."""

    name: str
    promoted: str | None = Field(description="The digest that the name stands for; null: nothing was ever promoted.")
    current: str | None = Field(description="The digest that callers of the name get; null: they get none.")
    images: tuple[NodeImage, ...] = Field(description="Newest first.")
    history: tuple[ImageHistoryEntry, ...] = Field(description="Newest first.")


class PromoteRequest(RequestModel):
    """The image that the name is to stand for."""

    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        pattern=_IMAGE_PATTERN,
        description=f"{_IMAGE} Left out: the last image of the name that was baked or pulled.",
    )


class RollbackRequest(RequestModel):
    """There is nothing to choose: the name stands for the image that was promoted before."""


class RetireRequest(RequestModel):
    """The image that no new cluster may use."""

    image: str = Field(min_length=1, max_length=255, pattern=_IMAGE_PATTERN, description=_IMAGE)
