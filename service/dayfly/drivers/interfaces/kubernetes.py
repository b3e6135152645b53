"""A cluster's API server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from dayfly.domain.cluster.model import Endpoint

Manifest = Mapping[str, Any]
"""A Kubernetes object as its YAML describes it, with apiVersion, kind and metadata.name."""

OnLate = Callable[[str], None]
"""Takes one sentence now and then while a call waits: what is missing, and why."""

_CLOCK_SKEW_SECONDS: Final = 5.0
"""The most that the clocks of two nodes of a cluster may differ."""


@dataclass(frozen=True)
class KubeAccess:
    """An administrator's access to an API server. PEM texts; `server_name` is a SAN of the server's certificate."""

    endpoint: Endpoint
    ca: str
    certificate: str
    key: str = field(repr=False)
    server_name: str


@dataclass(frozen=True)
class KubeNode:
    """A Kubernetes node, with the reason of its Ready condition. Ages are seconds by the API server's own clock."""

    name: str
    ready: bool
    reason: str = ""
    boot_id: str = ""
    """The boot of the kubelet's last report: a Ready from an earlier boot is stale."""
    condition_age: float = 0.0
    """At least so long since the Ready condition last changed."""
    renewal_age: float | None = None
    """At most so long since the kubelet last renewed its lease; None: it has none."""

    @property
    def last_report(self) -> str:
        """When it last reported, in words."""
        return "it has no lease" if self.renewal_age is None else f"it last reported {self.renewal_age:.0f} s ago"

    def renewed_within(self, seconds: float) -> bool:
        """Whether the kubelet renewed its lease in the last `seconds`.

        A renewal in the future is of saved memory whose clock was ahead.
        """
        return self.renewal_age is not None and -_CLOCK_SKEW_SECONDS <= self.renewal_age < seconds

    def changed_within(self, seconds: float) -> bool:
        """Whether the Ready condition surely changed in the last `seconds`, however wrong the cluster's clock was."""
        return self.condition_age + _CLOCK_SKEW_SECONDS < seconds


@dataclass(frozen=True)
class KubePod:
    """A pod: Kubernetes' phase, its node, and the reason why it does not run."""

    name: str
    namespace: str
    phase: str
    node: str | None
    reason: str = ""


@dataclass(frozen=True)
class ConfigMap:
    """A ConfigMap of which Dayfly writes all data."""

    namespace: str
    name: str
    data: Mapping[str, str]


class KubeApi(Protocol):
    """The few calls that steps make to a cluster's API server. They raise NotUsable where no other error is named."""

    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:
        """Whether /healthz answers ok, in one request. False when the API server cannot be reached."""

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        """All nodes, with the ages of their leases. Raises NodeNotReady when the API server does not answer."""

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        """All pods, in one request. Raises NodeNotReady when the API server does not answer."""

    async def report(self, access: KubeAccess, *, timeout: float) -> Mapping[str, str]:
        """Diagnostics of a cluster: short name → text.

        Nodes, pods, events, descriptions of pods that are not Ready, and logs of containers that failed; each bounded.
        Never raises: in place of what is missing is the reason.
        """

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        boot_ids: Mapping[str, str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        """Watch until every node of `boot_ids` is Ready in exactly that boot.

        Raises NodeNotReady with the last condition of each node.
        """

    async def wait_kubelets(
        self, access: KubeAccess, nodes: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        """Wait until the kubelet of each of `nodes` answers /healthz through the API server.

        The record of a restored node says Ready before its kubelet has reported. Raises NodeNotReady with the last
        answer of each kubelet.
        """

    async def wait_renewed(self, access: KubeAccess, started: Mapping[str, float], *, timeout: float) -> None:
        """Watch until the kubelet of each node has renewed its lease since its machine started.

        `started`: node → seconds since then. Raises NodeNotReady.
        """

    async def wait_usable(
        self, access: KubeAccess, image: str, *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        """Wait until the API server accepts a token of `default/default`, and a pod of `image` in a dry run.

        A refusal by a policy of the cluster's user counts as an answer.
        """

    async def wait_paths(
        self, access: KubeAccess, paths: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        """Wait until a GET of each of `paths` of the API server succeeds.

        One of a Deployment, DaemonSet or StatefulSet counts when the workload is available.
        """

    async def check_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        """Raises NotUsable where the ConfigMap does not exist, differs, or the API server does not answer."""

    async def put_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        """Create or update the ConfigMap, in one request; wait until the API server accepts it."""

    async def labels(
        self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float
    ) -> tuple[Mapping[str, str] | None, ...]:
        """The labels of each of `objects` as it is now; None: it does not exist."""

    async def apply(self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float) -> None:
        """Create or update `objects` in their order, by server-side apply. Answers that may pass are waited for."""

    async def delete(
        self,
        access: KubeAccess,
        objects: Sequence[Manifest],
        *,
        label: tuple[str, str],
        timeout: float,
        on_late: OnLate | None = None,
    ) -> None:
        """Delete those of `objects` that have `label`, in their order, each with its dependents until it is gone."""

    async def wait_service_account(self, access: KubeAccess, *, timeout: float, on_late: OnLate | None = None) -> None:
        """Watch until `default/default` exists, which proves that the controller manager works."""

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
        """Run a pod until it succeeds, and delete it. An existing pod of that name is adopted."""
