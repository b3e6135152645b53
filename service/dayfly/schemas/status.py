"""The whole installation at a glance: capacity and use, queue, pools, templates, engine. Responses."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from dayfly.schemas.base import Id, ResponseModel
from dayfly.schemas.clusters import NodeSize


class Capacity(NodeSize):
    """Virtual CPUs (of a host: its logical ones), MiB of memory, GiB of disk."""


class HostStatus(ResponseModel):
    """What the host has, and what of it clusters may use; null while the engine does not say."""

    capacity: Capacity | None = Field(description="What the host has.")
    offered: Capacity | None = Field(description="What clusters may reserve: without reserves, times overcommit.")
    reserved: Capacity = Field(description="What clusters have reserved; `disk_gib` has saved states, too.")


class OwnerStatus(ResponseModel):
    owner: str
    clusters: int = Field(description="Callers' clusters that are not deleted, those in the queue included.")
    waiting: int = Field(description="Of these, those in the queue.")
    reserved: Capacity = Field(description="With templates, their first forks, and members of pools.")


class QueueStatus(ResponseModel):
    waiting: int
    oldest_at: datetime | None = Field(description="When the first of them was requested.")


class PoolStatus(ResponseModel):
    name: Id
    owner: str
    desired_size: int
    ready: int
    provisioning: int
    condition: str | None = Field(description="Why it cannot be filled.")


class EngineStatus(ResponseModel):
    """Asked for this response. Without an answer all but `error` is null."""

    name: str | None = Field(description="`Docker` or `Podman`.")
    version: str | None
    api_version: str | None
    kernel: str | None
    image_store: str | None
    error: str | None = Field(description="Why the engine did not answer.")


class Status(ResponseModel):
    version: str = Field(description="The server's release.")
    instance: str = Field(description="The installation's name, which its containers carry as a label.")
    host: HostStatus
    clusters: dict[str, int] = Field(description="Callers' clusters by phase, every phase but `deleted`.")
    owners: tuple[OwnerStatus, ...] = Field(description="Those with clusters or reserved resources, by name.")
    queue: QueueStatus
    pools: tuple[PoolStatus, ...]
    templates: dict[str, int] = Field(description="By phase, every phase but `retired`.")
    engine: EngineStatus
    registry_caches: tuple[str, ...] = Field(
        default=(),
        description="Registries that nodes pull from through the installation's caches, as images name them.",
    )
