"""A cluster's API server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dayfly.domain.cluster.model import Endpoint


@dataclass(frozen=True)
class KubeAccess:
    """How to reach a cluster's API server as an administrator. PEM texts; `server_name` is a SAN of its certificate."""

    endpoint: Endpoint
    ca: str
    certificate: str
    key: str = field(repr=False)
    server_name: str


@dataclass(frozen=True)
class KubeNode:
    """A Kubernetes node: Ready or not, and what it says about it."""

    name: str
    ready: bool
    reason: str = ""
    boot_id: str = ""
    """Of the boot in which its kubelet last reported: a Ready of an earlier boot says nothing."""


@dataclass(frozen=True)
class KubePod:
    """A pod: phase as Kubernetes calls it, where it runs, and why it does not."""

    name: str
    namespace: str
    phase: str
    node: str | None
    reason: str = ""


class KubeApi(Protocol):
    """The few calls that steps make to a cluster's API server."""

    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:
        """One look: does /healthz say ok? False when it cannot be reached."""
        ...

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        """All nodes, one look. Raises NodeNotReady when the API server does not answer."""
        ...

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        """All pods, one look. Raises NodeNotReady when the API server does not answer."""
        ...

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        boot_ids: Mapping[str, str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        """Watch until every node that is a key of `boot_ids` is Ready in that very boot.

        Raises NodeNotReady with what each node said last.
        """
        ...

    async def wait_kubelets(self, access: KubeAccess, nodes: Collection[str], *, timeout: float) -> None:
        """Until the kubelet of each of `nodes` tells the API server that it is well.

        A node that was loaded from what was saved of it is Ready on record before its kubelet has said a word. Raises
        NodeNotReady with what each said last.
        """
        ...

    async def wait_service_account(self, access: KubeAccess, *, timeout: float) -> None:
        """Watch until `default/default` exists (the controller manager works). Raises NotUsable."""
        ...

    async def run_pod(
        self,
        access: KubeAccess,
        name: str,
        *,
        image: str,
        argv: Sequence[str],
        timeout: float,
        on_change: Callable[[KubePod], None] | None = None,
    ) -> None:
        """Run a pod to its successful end and delete it; one of that name is adopted.

        Raises NotUsable with its last state.
        """
        ...
