"""Add-ons over HTTP: those that a server knows, and those of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from dayfly.schemas.base import Code, Id, Open, ResponseModel
from dayfly.vocabulary import AddonSource, AddonState


class Addon(ResponseModel):
    """An add-on that clusters can have."""

    name: Id
    description: str
    recipes: tuple[str, ...] = Field(description="The recipes of node images that can run it.")
    needs: tuple[Id, ...] = Field(description="Other add-ons, which a cluster that has it gets as well.")
    source: Open[AddonSource] = Field(
        description="`baked`: the node images of its recipes have its container images. `pulled`: others made it; its "
        "manifests are fetched on the server, and nodes pull its container images by digest through the "
        "installation's caches of registries."
    )
    version: str | None = Field(description="Of a pulled add-on.")
    available: bool = Field(description="Whether a cluster can have it. If not, requests get 422 `addon_unavailable`.")
    unavailable_because: str | None = Field(description="What is missing, with the command or setting that adds it.")

    absent_means: ClassVar[Mapping[str, object]] = {"source": AddonSource.BAKED, "available": True}


class AddonList(ResponseModel):
    """All add-ons, by name."""

    addons: tuple[Addon, ...]


class AddonError(ResponseModel):
    """Why an add-on does not work, or cannot be removed."""

    code: Code
    message: str


class ClusterAddon(ResponseModel):
    """An add-on of a cluster."""

    name: Id
    state: Open[AddonState] = Field(
        description="`pending`: to be installed, or not seen to work since the machines started from another source. "
        "`ready`: it was seen to work, when it was installed or when the cluster last became ready. `failed`: with an "
        "`error`; the cluster is not affected if a PATCH requested the add-on. `removing`: its objects are being "
        "deleted; then it is no longer listed."
    )
    error: AddonError | None = Field(description="What failed. It is tried again when a PATCH names the add-ons again.")
