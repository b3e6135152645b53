"""A cluster's specification: the caller's request with every default filled in. Not here: parsing (api/)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dayfly.domain.addon import Addon, former_addons
from dayfly.domain.cluster.naming import node_name
from dayfly.domain.image import ImageManifest, NodeSize
from dayfly.vocabulary import ClusterReadiness, Isolation, Readiness, Restart, VmsUnderHold

__all__ = [
    "ClusterReadiness",
    "ClusterSpec",
    "Isolation",
    "Node",
    "PublishedPort",
    "Readiness",
    "Restart",
    "VmsUnderHold",
]


class Node(BaseModel):
    """One node: its index (the control plane's is 1), role and size."""

    model_config = ConfigDict(frozen=True)

    index: int
    role: Literal["control-plane", "worker"]
    size: NodeSize

    @property
    def name(self) -> str:
        return node_name(self.index)


class PublishedPort(BaseModel):
    """A TCP port of a node or of a Service that a caller wants published on the host.

    Either `node` or `address`, a Service's, is set. A NodePort is a port of every node.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    node: str | None = None
    address: str | None = None
    port: int


class ClusterSpec(BaseModel):
    """The specification of one cluster; frozen, and stored as JSON.

    `image_id` is the engine's content id: unlike a tag, it cannot move.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    image_id: str
    manifest: ImageManifest
    control_plane: NodeSize
    worker: NodeSize
    workers: int = 0
    readiness: Readiness = "usable"
    labels: dict[str, str] = {}
    ttl_seconds: int | None = None
    """Counts from the time at which the cluster was first ready, or failed: time in the queue does not count."""
    heartbeat_interval_seconds: int | None = None
    """The cluster expires after so long without a heartbeat; counts from its creation."""
    restart: Restart = "always"
    isolation: Isolation = "shared"
    idle_seconds: int | None = None
    """The cluster hibernates after so long without traffic from outside."""
    ports: tuple[PublishedPort, ...] = ()
    """Beside those that every cluster publishes; fixed when the network's container is created."""
    addons: tuple[Addon, ...] = ()
    """Each after those that it needs."""
    former_addons: tuple[Addon, ...] = ()
    """What was removed by requests: a reset may bring its objects back. References only."""
    addons_revision: int = 0
    """Counts requests that changed add-ons. 0: a snapshot has the add-ons of the cluster."""
    conformance: tuple[str, ...] = ()
    """The conformance specs, by name or pattern, that pass before `ready`. Not of the shape: a template of readiness
    `usable` serves clusters with any list."""

    @property
    def promised_readiness(self) -> ClusterReadiness:
        """The readiness that callers ask for and see."""
        return "conformance" if self.conformance else self.readiness

    @property  # not cached: model_copy() would copy the old value
    def shape(self) -> str:
        """SHA-256 of the properties that all forks of a template share: image, sizes, nodes, readiness, add-ons."""
        common = {"image_id", "control_plane", "worker", "workers", "readiness"}
        if self.addons:  # else the shape is that of a release without add-ons
            common.add("addons")
        canonical = json.dumps(self.model_dump(mode="json", include=common), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def with_addons(self, wanted: Sequence[Addon]) -> ClusterSpec:
        """With exactly these add-ons. Those that it has keep their present content."""
        present = {addon.name: addon for addon in self.addons}
        new = tuple(present.get(addon.name, addon) for addon in wanted)
        former = former_addons(self.former_addons, self.addons, new)
        changes = {"addons": new, "former_addons": former, "addons_revision": self.addons_revision + 1}
        return self.model_copy(update=changes)

    @property
    def node_count(self) -> int:
        return 1 + self.workers

    def nodes(self) -> tuple[Node, ...]:
        """All nodes, the control plane first."""
        first = Node(index=1, role="control-plane", size=self.control_plane)
        rest = (Node(index=i, role="worker", size=self.worker) for i in range(2, self.node_count + 1))
        return (first, *rest)

    def node(self, name: str) -> Node | None:
        return next((node for node in self.nodes() if node.name == name), None)
