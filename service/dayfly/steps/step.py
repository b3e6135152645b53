"""The interface of a step, and its context.

A step looks at the world, never at records: `check()` asks Docker, SSH or Kubernetes whether the result is there,
`apply()` produces it; both may be cancelled at any instruction and repeated. A failing step raises an error of
dayfly.errors, which says whether another attempt can help.
Not here: the order of steps (domain/cluster/provisioning_plan.py), attempts and back-off (controllers/).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dayfly.clock import Clock
from dayfly.domain.cluster import network
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.model import Cluster, Endpoint
from dayfly.domain.cluster.qemu_cmdline import Machine
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.cluster.timeouts import Accelerator, TimeLimits
from dayfly.domain.cluster.topology import ContainerSpec, Topology, machine_of
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.drivers.interfaces import CommandResult, Drivers, File, SshTarget
from dayfly.errors import ContainerExited


@dataclass(frozen=True)
class StepContext:
    """Everything a step may use. `node` is set for steps of one node; `progress` takes one sentence for a person.

    `advertised`: the host part of endpoints for callers. `began`: when this pass over the steps began, on the clock
    that nobody can set.
    """

    cluster: Cluster
    secrets: ClusterSecrets
    topology: Topology
    drivers: Drivers
    limits: TimeLimits
    accelerator: Accelerator
    clock: Clock
    progress: Callable[[str], None]
    advertised: str = "127.0.0.1"
    node: Node | None = None
    began: float = 0.0

    @property
    def spec(self) -> ClusterSpec:
        return self.cluster.spec

    @property
    def boot_source(self) -> BootSource:
        """The snapshot, in a step that restores machines."""
        if self.cluster.boot_source is None:
            raise TypeError("this cluster has no boot source: its machines start from their own disks")
        return self.cluster.boot_source

    @property
    def was_ready(self) -> bool:
        """Whether a caller may know its ports and have checkpoints of it: both are kept from then on."""
        return self.cluster.ready_at is not None

    def of(self, node: Node) -> StepContext:
        return replace(self, node=node)

    @property
    def machine(self) -> Machine:
        return machine_of(self.spec, self.this_node, self.accelerator)

    @property
    def this_node(self) -> Node:
        """The node, in a step that has one."""
        if self.node is None:
            raise TypeError("this step belongs to the whole cluster, not to a node")
        return self.node

    @property
    def container(self) -> ContainerSpec:
        return self.topology.node(self.this_node.index)

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = ()) -> None:
        """Start `container`, with `files` written before; create it, unless its disk or its ports must be kept.

        Raises ContainerRemoved where such a container is missing: a new one would have a blank disk or other ports.
        """
        kept = self.cluster.keeps_disks or (self.was_ready and container.role == "net")
        await self.drivers.engine.ensure(container, files, again=kept)

    async def endpoint(self, port: int) -> Endpoint:
        """The published endpoint of `port` of the namespace's outer address. Raises ContainerExited."""
        endpoints = await self.drivers.engine.endpoints(self.cluster.id)
        if port not in endpoints:
            raise ContainerExited(f"{self.topology.net.name} publishes no port {port}: it is not running")
        return endpoints[port]

    async def ssh_target(self, node: Node | None = None) -> SshTarget:
        """SSH access to `node`, by default `this_node`."""
        endpoint = await self.endpoint(network.ssh_forward_port((node or self.this_node).index))
        return ssh_target(self.secrets, endpoint)

    async def ssh(self, command: str, node: Node | None = None, *, timeout: float) -> CommandResult:
        """Run `command` on `node`, by default `this_node`, to its end. Raises SshTimeout."""
        return await self.drivers.ssh.run(await self.ssh_target(node), command, timeout=timeout)


def ssh_target(secrets: ClusterSecrets, endpoint: Endpoint) -> SshTarget:
    """SSH access to a node whose port is published at `endpoint`."""
    return SshTarget(
        host=endpoint.host,
        port=endpoint.port,
        private_key=secrets.user_key.private,
        host_public_key=secrets.host_key.public,
    )


class Step(ABC):
    """One condition that must hold before a cluster is ready."""

    @abstractmethod
    def limit(self, limits: TimeLimits) -> float:
        """The time limit of one check() or apply(), in seconds."""

    @abstractmethod
    async def check(self, context: StepContext) -> bool:
        """Whether the result is there already."""

    @abstractmethod
    async def apply(self, context: StepContext) -> None:
        """Produce the result. Raises DayflyError."""

    async def undo(self, context: StepContext) -> None:  # noqa: B027 - not abstract: after most steps nothing is left
        """Remove what a failed apply() left. By default nothing: the next apply() continues."""
