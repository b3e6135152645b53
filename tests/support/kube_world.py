"""A scripted world for the steps that create a Kubernetes cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.timeouts import EMULATED, TimeLimits
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import (
    CommandResult,
    ConfigMap,
    Drivers,
    File,
    KubeAccess,
    KubeNode,
    KubePod,
    OnLate,
    SshTarget,
)
from dayfly.errors import NodeNotReady, NotUsable, SshTimeout
from dayfly.steps.step import StepContext
from tests.support.clock import FakeClock
from tests.support.specs import make_cluster, make_spec

SPEC = make_spec(workers=1, kubernetes=True)
SECRETS = new_secrets(SPEC, datetime(2026, 1, 1, tzinfo=UTC))
OK = CommandResult(0, "", "")
STARTED = 30.0
"""For so many seconds the machines have run."""


@dataclass
class World:
    """The engine, two nodes and the API server that these steps use."""

    lines: Sequence[str] = ()
    result: CommandResult = OK
    ssh_error: SshTimeout | None = None
    done_on: set[str] = field(default_factory=set)
    marks: set[tuple[str, str]] = field(default_factory=set)
    vm_exits: bool = False
    healthy_now: bool = True
    nodes_now: tuple[KubeNode, ...] = field(default_factory=lambda: (said("node01"), said("node02")))
    not_ready: NodeNotReady | None = None
    no_account: NotUsable | None = None
    no_pod: NotUsable | None = None
    ran: list[tuple[str, str]] = field(default_factory=list)
    pods_run: list[str] = field(default_factory=list)
    existing_pods: tuple[KubePod, ...] = ()
    silent: bool = False
    clock: FakeClock = field(default_factory=FakeClock)
    looks: list[tuple[KubeNode, ...]] = field(default_factory=list)
    """The results of the next queries of the nodes; then `nodes_now`."""
    unusable: NotUsable | None = None
    path_not_ready: NotUsable | None = None
    late: str = ""
    """Told while paths are waited for."""
    config_map: ConfigMap | None = None
    config_map_refused: NotUsable | None = None
    not_renewed: NodeNotReady | None = None
    started_for: dict[str, float] = field(default_factory=dict)
    never_started: bool = False
    waited_for: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    # the engine
    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        return {port: Endpoint("127.0.0.1", 40000 + port) for port in (5000, 6443, 2201, 2202)}

    async def wait_exit(self, name: str) -> int | None:
        if not (self.vm_exits and name.endswith("node01")):
            await asyncio.Event().wait()
        return 1

    async def list_containers(self, cluster_id: str) -> tuple[Any, ...]:
        at = None if self.never_started else self.clock.now() - timedelta(seconds=STARTED)
        topology = compute_topology(cluster_id, SPEC, instance="test", accelerator="tcg", publication=Publication())
        return tuple(SimpleNamespace(name=node.name, started_at=at) for node in topology.nodes)

    async def logs(self, name: str, *, tail_lines: int = 200) -> str:
        return "qemu: out of luck"

    async def read_file(self, name: str, path: str, *, tail_bytes: int) -> bytes:
        return b"Kernel panic"

    # SSH
    async def put(self, target: SshTarget, files: Sequence[File], *, timeout: float) -> None:
        self.files[node_of(target)] = [file.path for file in files]

    async def run(
        self,
        target: SshTarget,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        self.ran.append((node_of(target), command))
        if command.startswith("journalctl"):
            return CommandResult(0, "kubelet: no such token " + SECRETS.bootstrap_token, "")
        if command.endswith("boot_id"):
            if self.ssh_error:
                raise self.ssh_error
            return CommandResult(0, f"boot-of-{node_of(target)}\n", "")
        if command.endswith("--done"):
            return CommandResult(0 if node_of(target) in self.done_on else 1, "", "")
        if command.startswith("test -e"):
            return CommandResult(0 if (node_of(target), command.rsplit(maxsplit=1)[-1]) in self.marks else 1, "", "")
        if command.startswith("touch"):
            self.marks.add((node_of(target), command.rsplit(maxsplit=1)[-1]))
            return OK
        if self.vm_exits:
            await asyncio.Event().wait()
        for line in self.lines:
            if on_line:
                on_line(line)
        if self.ssh_error:
            raise self.ssh_error
        return self.result

    # the agents
    async def read(self, container: str, path: str, *, timeout: float) -> str:
        assert path.endswith("/boot_id")
        return f"boot-of-{container.rpartition('-')[-1]}\n"

    # the API server
    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:
        return self.healthy_now

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        if self.not_ready:
            raise self.not_ready
        return self.looks.pop(0) if self.looks else self.nodes_now

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        boot_ids: Mapping[str, str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        if self.not_ready:
            raise self.not_ready
        self.waited_for = dict(boot_ids)
        for name in boot_ids:
            if on_change:
                on_change(KubeNode(name, ready=True))

    async def wait_kubelets(
        self, access: KubeAccess, nodes: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        assert set(nodes) == {node.name for node in SPEC.nodes()}
        if self.silent:
            raise NodeNotReady("the kubelets do not answer")

    async def wait_renewed(self, access: KubeAccess, started: Mapping[str, float], *, timeout: float) -> None:
        self.started_for = dict(started)
        if self.not_renewed:
            raise self.not_renewed

    async def wait_usable(
        self, access: KubeAccess, image: str, *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        assert image == "registry/smoke:1"
        if self.unusable:
            raise self.unusable

    async def wait_paths(
        self, access: KubeAccess, paths: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        assert paths == ("/dns/ready",)
        if on_late and self.late:
            on_late(self.late)
        if self.path_not_ready:
            raise self.path_not_ready

    async def check_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        if self.config_map != wanted:
            raise NotUsable("no such ConfigMap")

    async def put_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        if self.config_map_refused:
            raise self.config_map_refused
        self.config_map = wanted

    async def wait_service_account(self, access: KubeAccess, *, timeout: float, on_late: OnLate | None = None) -> None:
        if self.no_account:
            raise self.no_account

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        return self.existing_pods

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
        left, self.existing_pods = self.existing_pods, ()
        if left and left[0].phase == "Failed":
            raise NotUsable("the pod that was there failed")
        if self.no_pod:
            raise self.no_pod
        self.pods_run.append(f"{name} {image}")
        if on_change:
            on_change(KubePod(name, "default", "Succeeded", "node02"))


def said(
    node: str, *, ready: bool = True, boot: str = "", steady: float = STARTED - 6, renewed: float | None = STARTED - 1
) -> KubeNode:
    """A node's status as its kubelet reported it, in the node's present boot unless `boot` names another.

    `steady`: the age of its condition, which changed since the machines started.
    """
    reason = "" if ready else "NodeStatusUnknown"
    return KubeNode(node, ready, reason, boot or f"boot-of-{node}", steady, renewed)


def node_of(target: SshTarget) -> str:
    assert target.private_key == SECRETS.user_key.private
    assert target.host_public_key == SECRETS.host_key.public
    return f"node{target.port - 42200:02d}"


def context_of(world: World, node: int | None = None, limits: TimeLimits = EMULATED) -> tuple[StepContext, list[str]]:
    said: list[str] = []
    # A machine starts after its cluster is created.
    cluster = replace(make_cluster(SPEC), created_at=world.clock.now() - timedelta(hours=1))
    topology = compute_topology(cluster.id, SPEC, instance="test", accelerator="tcg", publication=Publication())
    whole = cast("Any", world)
    context = StepContext(
        cluster=cluster,
        secrets=SECRETS,
        topology=topology,
        drivers=Drivers(engine=whole, ssh=whole, kube=whole, machines=whole),
        limits=limits,
        accelerator="tcg",
        clock=world.clock,
        progress=said.append,
        node=SPEC.nodes()[node - 1] if node else None,
        began=world.clock.monotonic() - 3600,
    )
    return context, said
