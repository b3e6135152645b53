"""The steps that create a Kubernetes cluster, in a scripted world."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from dayfly.drivers.interfaces import CommandResult, KubePod
from dayfly.errors import ControlPlaneInit, JoinFailed, NotUsable, SshTimeout, VmExited
from dayfly.steps.control_plane import ControlPlane
from dayfly.steps.guest.node_files import CLUSTER_ENV
from dayfly.steps.join import Join
from dayfly.steps.smoke_test import POD, SmokeTest
from tests.support.kube_world import SECRETS, World, context_of


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
