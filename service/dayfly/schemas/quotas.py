"""Quotas over HTTP: what teams may have, and what they have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dayfly.schemas.base import Open, RequestModel, ResponseModel
from dayfly.vocabulary import TeamIsolation

Limit = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[int, Field(ge=1, le=10**9)]
Weight = Annotated[float, Field(ge=0.01, le=1000, allow_inf_nan=False, strict=False)]


class QuotaRequest(RequestModel):
    """What a team may have, or all teams without their own. null: no limit; omitted: as the installation's default."""

    clusters: Limit | None = Field(default=None, description="Clusters that are not deleted.")
    creating: Limit | None = Field(default=None, description="Clusters that are requested and not ready yet.")
    vcpus: Limit | None = Field(default=None, description="vCPUs of clusters; those of templates and pools are not.")
    memory_mib: Limit | None = Field(default=None, description="Memory of clusters, with what a machine takes itself.")
    disk_gib: Limit | None = Field(default=None, description="Disk of clusters.")
    templates: Limit | None = Field(default=None, description="Templates; those that pools need are always made.")
    pool_members: Limit | None = Field(default=None, description="The most members that all pools may have together.")
    saved_gib: Limit | None = Field(
        default=None,
        description="Disk of templates and checkpoints. One that is not saved yet counts with its machines' memory.",
    )
    long_polls: Limit | None = Field(
        default=None,
        description="Responses that are held at once: long polls, followed consoles and streams. Each process that "
        "serves the API counts its own, so that several of them hold so many each.",
    )
    max_ttl_seconds: Seconds | None = Field(default=None, description="The longest time to live of a cluster.")
    weight: Weight | None = Field(
        default=None, description="In the queue: a team of weight 2 gets twice the share of one of weight 1 (default)."
    )
    isolation: TeamIsolation | None = Field(
        default=None,
        description="Of new clusters. `shared` (default) or `strict`: that of requests without `isolation`. "
        "`strict_only`: all are strict, and a request for `shared` is refused (`isolation_required`).",
    )


class QuotaLimits(ResponseModel):
    """null: no limit."""

    clusters: int | None
    creating: int | None
    vcpus: int | None
    memory_mib: int | None
    disk_gib: int | None
    templates: int | None
    pool_members: int | None
    saved_gib: int | None
    long_polls: int | None
    max_ttl_seconds: int | None


class QuotaUse(ResponseModel):
    """What a team has."""

    clusters: int
    creating: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    templates: int
    pool_members: int
    saved_gib: int
    long_polls: int = Field(description="Of the process that answers.")


class Quota(ResponseModel):
    """What a team may have, and has."""

    team: str
    limits: QuotaLimits
    weight: float
    isolation: Open[TeamIsolation]
    used: QuotaUse


class DefaultQuota(ResponseModel):
    """What teams may have that have no quota of their own."""

    limits: QuotaLimits
    weight: float
    isolation: Open[TeamIsolation]
