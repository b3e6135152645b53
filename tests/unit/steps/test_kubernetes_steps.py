"""The steps that make a Kubernetes cluster, against a world that does as each test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dayfly.domain.cluster.boot_source import TEMPLATE
from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.timeouts import EMULATED, TimeLimits
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import CommandResult, Drivers, File, KubeAccess, KubeNode, KubePod, SshTarget
from dayfly.errors import ControlPlaneInit, JoinFailed, NodeNotReady, NotUsable, SshTimeout, VmExited
from dayfly.steps.control_plane import ControlPlane
from dayfly.steps.guest.node_files import CLUSTER_ENV
from dayfly.steps.join import Join
from dayfly.steps.ready import Ready
from dayfly.steps.smoke_test import POD, SmokeTest
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
    """An engine, two nodes and an API server, as far as these steps can tell."""

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
    """What the next looks at the nodes find; after them, `nodes_now`."""
    unusable: NotUsable | None = None
    not_renewed: NodeNotReady | None = None
    started_for: dict[str, float] = field(default_factory=dict)
    never_started: bool = False
    waited_for: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    # the engine
    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        return {port: Endpoint("127.0.0.1", 40000 + port) for port in (6443, 2201, 2202)}

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

    async def wait_kubelets(self, access: KubeAccess, nodes: Collection[str], *, timeout: float) -> None:
        assert set(nodes) == {node.name for node in SPEC.nodes()}
        if self.silent:
            raise NodeNotReady("the kubelets do not answer")

    async def wait_renewed(self, access: KubeAccess, started: Mapping[str, float], *, timeout: float) -> None:
        self.started_for = dict(started)
        if self.not_renewed:
            raise self.not_renewed

    async def wait_usable(self, access: KubeAccess, image: str, *, timeout: float) -> None:
        assert image == "registry/smoke:1"
        if self.unusable:
            raise self.unusable

    async def wait_service_account(self, access: KubeAccess, *, timeout: float) -> None:
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
    node: str, *, ready: bool = True, boot: str = "", steady: float = 60, renewed: float | None = STARTED - 1
) -> KubeNode:
    """What a node's kubelet reported, in the boot that the node is in now unless `boot` says otherwise."""
    reason = "" if ready else "NodeStatusUnknown"
    return KubeNode(node, ready, reason, boot or f"boot-of-{node}", steady, renewed)


def node_of(target: SshTarget) -> str:
    assert target.private_key == SECRETS.user_key.private
    assert target.host_public_key == SECRETS.host_key.public
    return f"node{target.port - 42200:02d}"


def context_of(world: World, node: int | None = None, limits: TimeLimits = EMULATED) -> tuple[StepContext, list[str]]:
    said: list[str] = []
    cluster = make_cluster(SPEC)
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
    )
    return context, said


async def test_control_plane_gets_its_files_and_its_program_and_says_how_it_goes() -> None:
    world = World(lines=["dayfly: the API server is healthy", "[bootstrap-token] Using token: x", "dayfly: done"])
    context, said = context_of(world, node=1)
    await ControlPlane().apply(context)
    assert "/etc/kubernetes/pki/ca.key" in world.files["node01"]
    assert ("node01", "/usr/lib/dayfly/control-plane") in world.ran
    assert said[1:] == ["the API server is healthy", "done"]


async def test_a_control_plane_that_was_started_again_is_awaited_with_its_files_untouched() -> None:
    world = World(done_on={"node01"}, lines=["dayfly: the API server is healthy"])
    context, said = context_of(world, node=1)
    await ControlPlane().apply(context)
    assert not world.files
    assert ("node01", "/usr/lib/dayfly/control-plane") in world.ran
    assert said == ["node01 starts its control plane again", "the API server is healthy"]


async def test_worker_joins_without_the_cas_key() -> None:
    world = World(lines=["dayfly: node02 has joined"])
    context, said = context_of(world, node=2)
    await Join().apply(context)
    assert CLUSTER_ENV in world.files["node02"]
    assert "/etc/kubernetes/pki/ca.key" not in world.files["node02"]
    assert ("node02", "/usr/lib/dayfly/join") in world.ran
    assert said[-1] == "node02 has joined"


@pytest.mark.parametrize(("step", "node", "failure"), [(ControlPlane(), 1, ControlPlaneInit), (Join(), 2, JoinFailed)])
async def test_a_failed_program_leaves_its_words_and_the_kubelets(
    step: ControlPlane | Join, node: int, failure: type[Exception]
) -> None:
    output = f"kubeadm join --token {SECRETS.bootstrap_token}\nerror execution phase: timed out"
    context, _ = context_of(World(result=CommandResult(1, output, "")), node=node)
    with pytest.raises(failure, match="error execution phase: timed out") as caught:
        await step.apply(context)
    evidence = cast("ControlPlaneInit", caught.value).evidence
    assert "timed out" in evidence["output"]
    assert "no such token" in evidence[f"kubelet/node{node:02d}"]
    assert SECRETS.bootstrap_token not in f"{evidence} {caught.value}"


async def test_a_program_that_never_ends_is_a_failure_of_the_control_plane() -> None:
    context, _ = context_of(World(ssh_error=SshTimeout("the command took longer than 900 s")), node=1)
    with pytest.raises(ControlPlaneInit, match="900 s") as caught:
        await ControlPlane().apply(context)
    assert caught.value.retryable
    assert "kubelet/node01" in caught.value.evidence


async def test_a_vm_that_ends_ends_the_wait_for_it() -> None:
    context, _ = context_of(World(vm_exits=True), node=1)
    async with asyncio.timeout(5):
        with pytest.raises(VmExited) as caught:
            await ControlPlane().apply(context)
    assert caught.value.evidence["console"] == "Kernel panic"


@pytest.mark.parametrize(("healthy", "done", "so"), [(True, True, True), (True, False, False), (False, True, False)])
async def test_control_plane_stands_when_it_answers_and_its_program_has_ended(
    healthy: bool, done: bool, so: bool
) -> None:
    world = World(healthy_now=healthy, done_on={"node01"} if done else set())
    context, _ = context_of(world, node=1)
    assert await ControlPlane().check(context) is so


@pytest.mark.parametrize(("done", "so"), [({"node02"}, True), ({"node01"}, False)])
async def test_each_node_joins_for_itself(done: set[str], so: bool) -> None:
    context, _ = context_of(World(done_on=done), node=2)
    assert await Join().check(context) is so


@pytest.mark.parametrize(
    ("nodes", "account", "so"),
    [
        ((said("node01"), said("node02")), None, True),
        ((said("node01"), said("node02", ready=False)), None, False),
        ((said("node01"), said("node02", boot="an-earlier-boot")), None, False),
        ((said("node01"),), None, False),
        ((said("node01"), said("node02")), NotUsable("no token"), False),
        ((said("node01"), said("node02", renewed=STARTED)), None, False),
        ((said("node01"), said("node02", renewed=None)), None, False),
        ((said("node01"), said("node02", renewed=-60)), None, False),
        ((said("node01"), said("node02", steady=1)), None, False),
    ],
)
async def test_ready_means_every_node_and_a_service_account(
    nodes: tuple[KubeNode, ...], account: NotUsable | None, so: bool
) -> None:
    context, _ = context_of(World(nodes_now=nodes, unusable=account))
    assert await Ready().check(context) is so


async def test_nodes_that_stay_not_ready_leave_every_kubelets_words() -> None:
    context, _ = context_of(World(not_ready=NodeNotReady("node02: no CNI configuration")))
    assert not await Ready().check(context)
    with pytest.raises(NodeNotReady) as caught:
        await Ready().apply(context)
    assert {"kubelet/node01", "kubelet/node02"} <= caught.value.evidence.keys()


async def test_nodes_on_record_as_ready_whose_kubelets_are_silent_are_not_ready() -> None:
    context, _ = context_of(World(silent=True))
    assert not await Ready().check(context)
    with pytest.raises(NodeNotReady, match="do not answer") as caught:
        await Ready().apply(context)
    assert "kubelet/node02" in caught.value.evidence


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (said("node02", ready=False, renewed=52), "node02 is not Ready: NodeStatusUnknown; it last reported 52 s ago"),
        (said("node02", renewed=600), "node02 has not reported since its start 30 s ago; it last reported 600 s ago"),
        (said("node02", renewed=None), "node02 has not reported since its start 30 s ago; it has no lease"),
        (said("node02", steady=0.5), "node02 has been Ready for less than 2 s"),
        (said("node02", boot="before"), "node02 has not reported since its boot; it last reported 29 s ago"),
    ],
)
async def test_the_last_look_decides(first: KubeNode, words: str) -> None:
    world = World(looks=[(said("node01"), first)])
    context, progress = context_of(world)
    await Ready().apply(context)
    assert progress.count(f"{words}: waiting again") == 1
    assert world.clock.slept == [2.0]

    world = World(nodes_now=(said("node01"), first))
    context, _ = context_of(world)
    with pytest.raises(NodeNotReady) as caught:
        await Ready().apply(context)
    assert caught.value.message == words
    assert {"kubelet/node01", "kubelet/node02"} <= caught.value.evidence.keys()
    assert not await Ready().check(context)


async def test_a_node_that_flaps_is_waited_for_until_it_stays() -> None:
    down, young = said("node02", ready=False), said("node02", steady=0)
    looks: list[tuple[KubeNode, ...]] = [(said("node01"), node) for node in (down, young, down, young)]
    world = World(looks=looks)
    context, _ = context_of(world)
    await Ready().apply(context)
    assert len(world.clock.slept) == 4
    assert not world.looks


async def test_a_machine_that_was_never_started_is_not_ready() -> None:
    context, _ = context_of(World(never_started=True))
    assert not await Ready().check(context)
    with pytest.raises(NodeNotReady, match="the machine of node01 is not started"):
        await Ready().apply(context)


async def test_reports_count_since_the_machines_start() -> None:
    world = World()
    context, _ = context_of(world)
    await Ready().apply(context)
    assert world.started_for == {"node01": STARTED, "node02": STARTED}

    context, _ = context_of(World(not_renewed=NodeNotReady("node02 has not reported")))
    with pytest.raises(NodeNotReady, match="node02 has not reported") as caught:
        await Ready().apply(context)
    assert "kubelet/node02" in caught.value.evidence


@pytest.mark.parametrize("refused", ["a service account's token is refused", "a pod is refused"])
async def test_a_cluster_without_tokens_or_pods_is_not_ready(refused: str) -> None:
    context, _ = context_of(World(unusable=NotUsable(refused)))
    assert not await Ready().check(context)
    with pytest.raises(NotUsable, match=refused):
        await Ready().apply(context)


async def test_ready_says_which_node_is() -> None:
    world = World()
    context, words = context_of(world)
    await Ready().apply(context)
    assert words[:2] == ["node01 is Ready", "node02 is Ready"]
    assert world.waited_for == {"node01": "boot-of-node01", "node02": "boot-of-node02"}


async def test_the_agents_of_a_fork_say_its_boots() -> None:
    world = World(ssh_error=SshTimeout("nobody logs in to it yet"))
    context, _ = context_of(world)
    forked = replace(context, cluster=replace(context.cluster, origin=TEMPLATE))
    assert await Ready().check(forked)
    await Ready().apply(forked)
    assert world.waited_for == {"node01": "boot-of-node01", "node02": "boot-of-node02"}
    assert world.ran == []


async def test_nodes_that_do_not_answer_are_not_called_ready() -> None:
    context, _ = context_of(World(ssh_error=SshTimeout("silence")))
    assert not await Ready().check(context)
    with pytest.raises(SshTimeout):
        await Ready().apply(context)


async def test_the_smoke_pod_runs_once() -> None:
    world = World()
    context, said = context_of(world)
    assert not await SmokeTest().check(context)
    await SmokeTest().apply(context)
    assert world.pods_run == [f"{POD} registry/smoke:1"]
    assert said == ["the smoke pod is Succeeded on node02"]
    assert await SmokeTest().check(context)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_smoke_pod_of_an_earlier_boot_proves_nothing(phase: str) -> None:
    world = World(existing_pods=(KubePod(POD, "default", phase, "node02"),))
    context, words = context_of(world)
    await SmokeTest().apply(context)
    assert not world.existing_pods
    assert world.pods_run[-1] == f"{POD} registry/smoke:1"
    assert words == ["the smoke pod is Succeeded on node02"]


async def test_what_the_smoke_pod_proved_ends_with_the_boot() -> None:
    world = World()
    context, _ = context_of(world)
    await SmokeTest().apply(context)
    assert {path for _, path in world.marks} == {"/run/dayfly-smoke.done"}


async def test_a_smoke_pod_that_does_not_run_leaves_no_mark() -> None:
    world = World(no_pod=NotUsable("ErrImageNeverPull"))
    context, _ = context_of(world)
    with pytest.raises(NotUsable, match="ErrImageNeverPull") as caught:
        await SmokeTest().apply(context)
    assert "kubelet/node02" in caught.value.evidence
    assert not await SmokeTest().check(context)
