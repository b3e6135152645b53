"""What routes depend on: the store, and protocols that adapters.py implements.

Routes never reach an engine themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol, cast

from fastapi import Depends, Request

from dayfly import __version__
from dayfly.api.queue_cache import QueueCache
from dayfly.clock import Clock
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.domain.scheduling.resources import CapacityRules, Resources
from dayfly.store import Store

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

ReadinessCheck = Callable[[], Awaitable[None]]
"""Returns if a dependency works; raises its error otherwise."""


class ImageCatalog(Protocol):
    """The node images on the engine."""

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        """Content id and manifest of the image at a full reference.

        Raises ImageMissing, NotANodeImage, EngineUnavailable.
        """
        ...


@dataclass(frozen=True)
class HostCapacity:
    """The host's total: logical CPUs, MiB of memory, GiB of disk for the engine's data."""

    cpus: int
    memory_mib: int
    disk_gib: int

    @property
    def resources(self) -> Resources:
        """As Resources."""
        return Resources(self.cpus, self.memory_mib, self.disk_gib)


class Host(Protocol):
    """The host of the engine."""

    async def host(self) -> HostCapacity:
        """The host's size; cached, because requests wait for it. Raises EngineUnavailable."""
        ...


class Consoles(Protocol):
    """The serial consoles of nodes."""

    async def read(self, cluster: Cluster, node: str, *, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of the node's console output; b"" if there is no output."""
        ...

    def stream(self, cluster: Cluster, node: str) -> AsyncIterator[bytes]:
        """Console output from now on, until the node ends."""
        ...


class Diagnostics(Protocol):
    """The present state of a cluster's containers and nodes."""

    async def collect(self, cluster: Cluster) -> Mapping[str, str]:
        """Short name (`node01/console`, `engine`) → text without secrets. A text may be missing, or name an error."""
        ...


@dataclass(frozen=True)
class MemoryUse:
    """A VM's memory on the host, in bytes: shared, private, and proportional (PSS)."""

    shared_bytes: int
    private_bytes: int
    proportional_bytes: int


class MemoryGauge(Protocol):
    """The memory of running VMs."""

    async def read(self, cluster: Cluster, node: str) -> MemoryUse | None:
        """From the kernel's accounting; None if the VM does not run or cannot be measured."""
        ...


@dataclass(frozen=True)
class Orphan:
    """A container, network or volume with this installation's label that no living cluster or template owns.

    `why`: the reason why the object counts as an orphan. `error`: why the removal failed.
    """

    kind: str
    name: str
    cluster_id: str | None
    template_id: str | None
    why: str
    error: str | None = None


class OrphanCollector(Protocol):
    """Garbage collection on the engine."""

    async def find(self) -> tuple[Orphan, ...]:
        """All present orphans. Raises EngineUnavailable."""
        ...

    async def remove(self) -> tuple[Orphan, ...]:
        """Remove all orphans; an orphan with an `error` still exists. Raises EngineUnavailable."""
        ...


TemplateKey = Callable[[ClusterSpec, str], Awaitable[str]]
"""(spec, owner) → the key of a matching template on this host (domain.template.template_key).

Raises ImageMissing, EngineUnavailable.
"""


@dataclass(frozen=True)
class ApiServices:
    """Dependencies and limits of the API.

    `rules`: the host's resources for clusters. `max_ttl_seconds`: the longest TTL, extensions included.
    `default_ttl_seconds`: the TTL of requests without one; None: such clusters do not expire. `max_hold_seconds`: the
    longest hold, from now. `fork_memory_overcommit`: MiB of fork memory for each MiB reserved.
    `checks`: name of a dependency → check. `allowed_hosts`: accepted host names in the Host header, without ports; None
    accepts any. The default protects a service on loopback from DNS rebinding by web pages.
    """

    store: Store
    images: ImageCatalog
    consoles: Consoles
    host: Host
    diagnostics: Diagnostics
    memory: MemoryGauge
    orphans: OrphanCollector
    template_key_of: TemplateKey
    clock: Clock
    rules: CapacityRules
    max_ttl_seconds: int
    max_hold_seconds: int = 24 * 3600
    default_ttl_seconds: int | None = None
    fork_memory_overcommit: float = 1.0
    checks: Mapping[str, ReadinessCheck] = field(default_factory=dict)
    allowed_hosts: frozenset[str] | None = LOOPBACK_HOSTS
    version: str = __version__
    queue_cache: QueueCache = field(default_factory=QueueCache)


def _services(request: Request) -> ApiServices:
    return cast("ApiServices", request.app.state.services)


Services = Annotated[ApiServices, Depends(_services)]
"""Type of a route's parameter that receives the services."""
