"""The values that callers hand to the store and get from it, beside those of domain/cluster.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from dayfly.domain.cluster import Cluster
from dayfly.domain.spec import ClusterSpec


@dataclass(frozen=True)
class NewCluster:
    """A cluster somebody wishes for. Without a name the store makes one; `ttl_seconds` counts from its creation."""

    name: str | None
    spec: ClusterSpec
    ttl_seconds: int | None


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key for one request; `fingerprint` is the SHA-256 of the canonical request body."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Page:
    """One page of a listing, newest first; `next_cursor` is None on the last one."""

    clusters: tuple[Cluster, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Claim:
    """The right to write to a cluster until its lease ends. `cluster` is as it was when it was claimed."""

    cluster: Cluster
    token: str = field(repr=False)
    owner: str
