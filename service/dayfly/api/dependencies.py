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
"""Returns when a dependency works; raises what is wrong with it."""


class ImageCatalog(Protocol):
    """The node images that clusters can be made of."""

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        """The content id and the manifest of the image at a full reference.

        Raises ImageMissing, NotANodeImage, EngineUnavailable.
        """
        ...


@dataclass(frozen=True)
class HostCapacity:
    """What the host that runs the nodes has in all: logical CPUs, MiB of memory, GiB of disk for the engine's data."""

    cpus: int
    memory_mib: int
    disk_gib: int

    @property
    def resources(self) -> Resources:
        """The same, as capacity is counted."""
        return Resources(self.cpus, self.memory_mib, self.disk_gib)


class Host(Protocol):
    """The host that runs the nodes."""

    async def host(self) -> HostCapacity:
        """Its size; remembered by the implementation, for a request waits for it. Raises EngineUnavailable."""
        ...


class Consoles(Protocol):
    """The serial consoles of nodes."""

    async def read(self, cluster: Cluster, node: str, *, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of what the node's console printed; b"" where nothing is (yet, or any more)."""
        ...

    def stream(self, cluster: Cluster, node: str) -> AsyncIterator[bytes]:
        """What the console prints from now on, as it comes; ends when the node does."""
        ...


class Diagnostics(Protocol):
    """What can be learned of a cluster's insides at this moment."""

    async def collect(self, cluster: Cluster) -> Mapping[str, str]:
        """Short name (`node01/console`, `engine`) → text, free of secrets. What cannot be had is left out or told."""
        ...


@dataclass(frozen=True)
class MemoryUse:
    """What a machine has of the host's memory, in bytes: shared with others, its own, and both in fair parts (PSS)."""

    shared_bytes: int
    private_bytes: int
    proportional_bytes: int


class MemoryGauge(Protocol):
    """The memory of running machines."""

    async def read(self, cluster: Cluster, node: str) -> MemoryUse | None:
        """By the kernel's own accounting; None where the machine does not run, or cannot be asked."""
        ...


@dataclass(frozen=True)
class Orphan:
    """A container, network or volume with this installation's label that no living cluster or template owns.

    `why` is how that is known. `error` is why it could not be removed.
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
        """All orphans, now. Raises EngineUnavailable."""
        ...

    async def remove(self) -> tuple[Orphan, ...]:
        """Removes all orphans; those with an `error` are still there. Raises EngineUnavailable."""
        ...


TemplateKey = Callable[[ClusterSpec, str], Awaitable[str]]
"""(a specification, its owner) → domain.template.template_key of it on this host.

Raises ImageMissing, EngineUnavailable.
"""


@dataclass(frozen=True)
class ApiServices:
    """All that the API needs. `checks` maps a dependency's name to how to see that it works.

    `rules` say how much of the host clusters may have. `max_ttl_seconds` is the longest time to live, extensions
    included; `default_ttl_seconds` the one where a caller gives none (None: such clusters never expire);
    `max_hold_seconds` how far ahead a hold may end.
    `fork_memory_overcommit`: how much memory forks may have for each MiB that is counted for them.
    `allowed_hosts` are the host names a request may be addressed to, without ports; None allows any. The default
    keeps web pages that resolve their own name to 127.0.0.1 (DNS rebinding) away from a service on loopback.
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
"""A route's parameter of this type receives the services."""
