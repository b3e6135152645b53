"""The values that callers pass to the store and receive from it, beside those of domain/."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, Literal

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Period


class Unset(Enum):
    """The type of UNSET: None means something else where a value may be taken away."""

    UNSET = "unset"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""A field of a Change that leaves the cluster's own as it is."""


@dataclass(frozen=True)
class NewCluster:
    """A cluster somebody wishes for. Without a name the store makes one."""

    name: str | None
    spec: ClusterSpec
    owner: str = "default"
    hold: Hold | None = None
    memory_factor: float = 1.0
    """How many times over forks may be promised memory (domain/scheduling/resources.demand)."""


@dataclass(frozen=True)
class Change:
    """What a caller wants otherwise. `labels` replace all that were; None: no hold, no time to live, never idle."""

    ttl_seconds: int | Unset | None = UNSET
    labels: dict[str, str] | Unset = UNSET
    hold: Hold | Unset | None = UNSET
    idle_seconds: int | Unset | None = UNSET


@dataclass(frozen=True)
class NewPool:
    """A pool that an operator wishes for (domain/pool.Pool)."""

    name: str
    owner: str
    spec: ClusterSpec
    size: int
    maximum: int
    schedule: tuple[Period, ...] = ()
    max_age_seconds: int = 24 * 3600


@dataclass(frozen=True)
class PoolChange:
    """What an operator wants otherwise of a pool. A schedule replaces the one that was."""

    size: int | Unset = UNSET
    maximum: int | Unset = UNSET
    schedule: tuple[Period, ...] | Unset = UNSET
    max_age_seconds: int | Unset = UNSET


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
class Known:
    """A cluster that is not deleted, as far as the sweeper needs it. `held`: a hold keeps it at this moment."""

    id: str
    phase: Phase
    desired: Desired
    reserved: bool
    held: bool
    containers: int
    """How many of it run where all is well: a network, a registry, and one for each node. None while it hibernates."""
    begun: bool = False
    """It was ready once. What it has it keeps then, even while it waits for room to be woken up."""


@dataclass(frozen=True)
class Claim:
    """The right to write to a cluster until its lease ends. `cluster` is as it was when it was claimed, at `at`.

    `due_at` is what it was due by: a row that says otherwise at the end was asked for again meanwhile.
    """

    cluster: Cluster
    token: str = field(repr=False)
    owner: str
    at: datetime
    due_at: datetime | None = field(default=None, repr=False)
