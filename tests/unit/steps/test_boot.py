"""The step `boot`, on a fake engine: a node that answers, one that does not, one that already runs."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dayfly.clock import SystemClock
from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.network import LEASES, node_mac, ssh_forward_port
from dayfly.domain.cluster.timeouts import EMULATED
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import Drivers, ExecResult
from dayfly.errors import ContainerRemoved, DhcpTimeout, EngineUnavailable, SshTimeout
from dayfly.steps.boot import Boot
from dayfly.steps.sandbox import Sandbox
from dayfly.steps.step import StepContext
from dayfly.testing.fakes import FakeContainer, FakeEngine, FakeKube, FakeMachines, FakeSsh
from tests.support.specs import make_cluster, make_spec

SPEC = make_spec(workers=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Lab:
    """A cluster whose sandbox runs, and the step of its second node."""

    def __init__(self) -> None:
        self.engine, self.ssh = FakeEngine(), FakeSsh()
        cluster = make_cluster(SPEC)
        topology = compute_topology(cluster.id, SPEC, instance="default", accelerator="tcg", publication=Publication())
        self.context = StepContext(
            cluster=cluster,
            secrets=new_secrets(SPEC, NOW),
            topology=topology,
            drivers=Drivers(self.engine, self.ssh, FakeKube(), FakeMachines(self.engine)),
            limits=EMULATED,
            accelerator="tcg",
            clock=SystemClock(),
            progress=lambda sentence: None,
            node=SPEC.nodes()[1],
        )

    @property
    def node(self) -> str:
        return self.context.container.name

    @property
    def ssh_port(self) -> int:
        """Where the host publishes the node's SSH."""
        return self.engine.containers[self.context.topology.net.name].ports[ssh_forward_port(2)]

    def was_ready(self) -> None:
        """Mark the cluster as one that was ready before."""
        self.context = replace(self.context, cluster=replace(self.context.cluster, ready_at=NOW))

    async def sandbox(self, leases: str = "") -> None:
        await Sandbox().apply(self.context)
        self.engine.containers[self.context.topology.net.name].files[LEASES] = leases.encode()


async def test_a_silent_node_that_never_asked_for_an_address_did_not_come_up() -> None:
    lab = Lab()
    await lab.sandbox(f"0 {node_mac(1)} 192.168.66.101 node01 *\n")
    lab.ssh.never_answers()
    with pytest.raises(DhcpTimeout, match="node02 requested no address by DHCP within 300 s") as caught:
        await Boot().apply(lab.context)
    assert caught.value.retryable
    assert node_mac(1) in caught.value.evidence["leases"]
    assert "console" in caught.value.evidence


async def test_a_silent_node_with_an_address_came_up_without_ssh() -> None:
    lab = Lab()
    await lab.sandbox(f"0 {node_mac(2)} 192.168.66.102 node02 *\n")
    lab.ssh.never_answers()
    with pytest.raises(SshTimeout) as caught:
        await Boot().apply(lab.context)
    assert node_mac(2) in caught.value.evidence["leases"]


@pytest.mark.parametrize(
    ("said", "words"),
    [(b"SSH-2.0-OpenSSH\r\n", "inside .*-net, but not at its published port"), (b"", "^(?!.*inside)")],
)
async def test_a_node_that_answers_only_who_is_in_its_namespace(said: bytes, words: str) -> None:
    lab = Lab()
    await lab.sandbox(f"0 {node_mac(2)} 192.168.66.102 node02 *\n")
    lab.ssh.never_answers()
    asked: list[Sequence[str]] = []

    def answer(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ExecResult:
        asked.append([container.spec.role, *argv])
        return ExecResult(0 if said else 124, said, b"")

    lab.engine.on_exec(answer)
    with pytest.raises(SshTimeout, match=words) as caught:
        await Boot().apply(lab.context)
    assert caught.value.evidence["inside"] == said.decode()
    [(role, *_, address)] = asked
    assert (role, address) == ("net", "192.168.66.102")


async def test_leases_that_cannot_be_read_blame_nobody() -> None:
    lab = Lab()
    await lab.sandbox()
    lab.ssh.never_answers()
    lab.engine.fail_always(EngineUnavailable("gone"), "read_file")
    with pytest.raises(SshTimeout) as caught:
        await Boot().apply(lab.context)
    assert "engine_unavailable" in caught.value.evidence["leases"]


async def test_a_machine_that_ended_is_started_again_from_its_own_disk() -> None:
    lab = Lab()
    await lab.sandbox()
    await Boot().apply(lab.context)
    lab.was_ready()
    lab.engine.containers[lab.node].files[qemu_cmdline.OVERLAY] = b"the caller's"
    lab.engine.exit(lab.node, 137)
    assert not await Boot().check(lab.context)
    lab.ssh.forgotten.clear()
    await Boot().apply(lab.context)
    assert await Boot().check(lab.context)
    again = lab.engine.containers[lab.node]
    assert (again.starts, again.files[qemu_cmdline.OVERLAY]) == (2, b"the caller's")
    assert qemu_cmdline.SEED_FILE in again.files
    assert lab.ssh.forgotten == [lab.ssh_port], "a connection to the earlier boot would only stay silent"


async def test_an_emulated_guest_with_control_groups_of_version_1_keeps_its_kernels_code() -> None:
    lab = Lab()
    manifest = SPEC.manifest.model_copy(update={"kernel_arguments": ("systemd.unified_cgroup_hierarchy=0",)})
    lab.context = replace(lab.context, cluster=make_cluster(SPEC.model_copy(update={"manifest": manifest})))
    await lab.sandbox()
    await Boot().apply(lab.context)
    seed = io.BytesIO(lab.engine.containers[lab.node].files[qemu_cmdline.SEED_FILE])
    with tarfile.open(fileobj=seed) as tar:
        assert "etc/tmpfiles.d/dayfly-patched-code.conf" in tar.getnames()


@pytest.mark.parametrize("was_ready", [True, False])
async def test_a_failed_attempt_makes_the_machine_anew_only_before_anybody_had_it(was_ready: bool) -> None:
    lab = Lab()
    await lab.sandbox()
    await Boot().apply(lab.context)
    if was_ready:
        lab.was_ready()
    await Boot().undo(lab.context)
    assert (lab.node in lab.engine.containers) is was_ready
    if was_ready:
        assert lab.engine.containers[lab.node].state == "exited"


async def test_a_machine_that_somebody_removed_is_not_replaced_by_a_blank_one() -> None:
    lab = Lab()
    await lab.sandbox()
    await Boot().apply(lab.context)
    lab.was_ready()
    lab.engine.remove_by_hand(lab.node)
    with pytest.raises(ContainerRemoved, match=lab.node):
        await Boot().apply(lab.context)
    assert lab.node not in lab.engine.containers
