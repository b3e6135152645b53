"""The values that callers pass to the store and receive from it, beside those of domain/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Final, Literal

from dayfly.domain.addon import Addon
from dayfly.domain.bake import Bake
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Event, Hold, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Period
from dayfly.domain.security.principal import EVERYWHERE, UNAUTHENTICATED, Scope
from dayfly.domain.webhook import Delivery
from dayfly.vocabulary import WebhookEvent

DEFAULT_OWNER: Final = "default"
"""The owner of requests without an owner."""
MEMBER_STATES: Final = ("ready", "provisioning", "failed", "deleting")
"""Of a pool's members; a ready one can be claimed."""


class Unset(Enum):
    """The type of UNSET. In a Change, None removes a value."""

    UNSET = "unset"


UNSET: Final[Literal[Unset.UNSET]] = Unset.UNSET
"""In a Change: keep the present value."""


@dataclass(frozen=True)
class NewCluster:
    """A request for a cluster. Without a name, the store generates a name."""

    name: str | None
    spec: ClusterSpec
    owner: str = DEFAULT_OWNER
    hold: Hold | None = None
    memory_factor: float = 1.0
    """Memory overcommit of forks (domain/scheduling/resources.demand)."""
    principal: str = UNAUTHENTICATED
    """Who uses the cluster's resources."""


@dataclass(frozen=True)
class Change:
    """A requested update of a cluster. `labels` and `addons` replace all; None removes the hold, TTL or idle time."""

    ttl_seconds: int | Unset | None = UNSET
    labels: dict[str, str] | Unset = UNSET
    hold: Hold | Unset | None = UNSET
    idle_seconds: int | Unset | None = UNSET
    addons: tuple[Addon, ...] | Unset = UNSET


@dataclass(frozen=True)
class NewPool:
    name: str
    owner: str
    spec: ClusterSpec
    size: int
    maximum: int
    schedule: tuple[Period, ...] = ()
    max_age_seconds: int = 24 * 3600


@dataclass(frozen=True)
class PoolChange:
    """A requested update of a pool. `schedule` replaces the whole schedule."""

    size: int | Unset = UNSET
    maximum: int | Unset = UNSET
    schedule: tuple[Period, ...] | Unset = UNSET
    max_age_seconds: int | Unset = UNSET


@dataclass(frozen=True)
class IdempotencyKey:
    """A caller's key for one request; `fingerprint` is the SHA-256 of the canonical request body.

    The key belongs to `owner`: the same key of another owner is another key.
    """

    key: str
    fingerprint: str
    owner: str = DEFAULT_OWNER

    @property
    def stored(self) -> str:
        """The key in the database, which has one column for both. Those of older releases have no space."""
        return f"{self.owner} {sha256(self.key.encode()).hexdigest()}"

    def of_cluster(self, cluster_id: str, owner: str) -> IdempotencyKey:
        """The key of a request about one cluster, which belongs to that cluster's owner."""
        return replace(self, owner=owner, fingerprint=sha256(f"{cluster_id} {self.fingerprint}".encode()).hexdigest())


@dataclass(frozen=True)
class KeyUse:
    """The first request with an idempotency key: when it was recorded, and what it created or changed."""

    at: datetime
    cluster_id: str | None
    """The created cluster, or the cluster that was reset or got a checkpoint."""
    resource_id: str | None = None
    """The pool, the template, the bake, the webhook or the delivery."""


class CarriedOut(Exception):
    """An earlier request with the same idempotency key and the same body was carried out."""

    def __init__(self, use: KeyUse) -> None:
        super().__init__("an earlier request with this idempotency key was carried out")
        self.use = use


@dataclass(frozen=True)
class Page:
    """One page of a listing, newest first; `next_cursor` is None on the last one."""

    clusters: tuple[Cluster, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class EventFilter:
    """Which events of all clusters; empty: any. Owner, labels and purpose are compared as the cluster has them now.

    `clusters`: ids, or names of clusters that have the name or had it before their deletion. `labels`: all of them.
    """

    clusters: frozenset[str] = frozenset()
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    types: frozenset[str] = frozenset()
    purposes: frozenset[Purpose] = frozenset({Purpose.CLUSTER})
    scope: Scope = EVERYWHERE


@dataclass(frozen=True)
class ClusterEvent:
    """An event, and the cluster that it is about."""

    event: Event
    cluster_id: str
    cluster_name: str
    owner: str


@dataclass(frozen=True)
class EventPage:
    """Events, oldest first. Every matching event with an id up to `until` is in this page or in those before."""

    events: tuple[ClusterEvent, ...]
    until: int
    is_last: bool
    """No later event is visible yet."""


@dataclass(frozen=True)
class Known:
    """A cluster that is not deleted, as garbage collection needs it."""

    id: str
    phase: Phase
    desired: Desired
    reserved: bool
    containers: int
    """Expected running containers: network, registry, one for each node. 0 while the cluster is hibernated."""
    begun: bool = False
    """The cluster was ready once: its volumes stay, even while it waits in the queue to be resumed."""


@dataclass(frozen=True)
class Claim:
    """The right to write to a cluster until its lease ends. `cluster` is the state at `at`, the time of the claim.

    `due_at` is the cluster's due time at the claim. A different time in the row at the release means a new request.
    """

    cluster: Cluster
    token: str = field(repr=False)
    owner: str
    at: datetime
    due_at: datetime | None = field(default=None, repr=False)


@dataclass(frozen=True)
class BakePage:
    """One page of bakes, newest first; `next_cursor` is None on the last one."""

    bakes: tuple[Bake, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class BakeClaim:
    """The right to write to a bake until its lease ends. `bake` is the state at the claim."""

    bake: Bake
    token: str = field(repr=False)
    owner: str


@dataclass(frozen=True)
class NewWebhook:
    """A request for a webhook. `secret`: `whsec_…`, which signs its calls."""

    owner: str
    url: str
    events: tuple[WebhookEvent, ...]
    secret: str = field(repr=False)
    description: str = ""


@dataclass(frozen=True)
class WebhookChange:
    """A requested update of a webhook. `enabled`: a webhook that was disabled because its calls failed begins anew."""

    url: str | Unset = UNSET
    events: tuple[WebhookEvent, ...] | Unset = UNSET
    description: str | Unset = UNSET
    enabled: bool | Unset = UNSET


@dataclass(frozen=True)
class DeliveryPage:
    """One page of deliveries, newest first; `next_cursor` is None on the last one."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class DeliveryClaim:
    """The right to send a delivery, until its lease ends. `secret` may raise SecretsKeyMissing, SecretDamaged."""

    delivery_id: str
    webhook_id: str
    message_id: str
    type: str
    url: str
    body: str
    secret: Callable[[], str] = field(repr=False)
    token: str = field(repr=False)
    owner: str


@dataclass(frozen=True)
class Usage:
    """The number of an owner's clusters of one purpose in one phase; of these, those in the queue, since when."""

    owner: str
    purpose: Purpose
    phase: Phase
    clusters: int
    waiting: int
    waiting_since: datetime | None
