"""The fakes' own controls, on which other tests rely."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.drivers.interfaces import CommandResult, EngineEvent, File, KubeAccess, SshTarget
from dayfly.errors import (
    EngineUnavailable,
    ImageMissing,
    NodeNotReady,
    NotUsable,
    PortsExhausted,
    SshRefused,
    SshTimeout,
)
from dayfly.testing.fakes import FakeEngine, FakeImages, FakeKube, FakePressure, FakeSsh
from tests.support.specs import make_spec

TARGET = SshTarget("127.0.0.1", 2201, private_key="k", host_public_key="h")
ACCESS = KubeAccess(Endpoint("127.0.0.1", 6443), "ca", "crt", "key", "node01")


@pytest.fixture
def topology() -> Topology:
    return compute_topology(
        "c1", make_spec(workers=1), instance="default", accelerator="tcg", publication=Publication()
    )


async def test_a_failure_is_raised_as_often_as_told(topology: Topology) -> None:
    engine = FakeEngine()
    engine.fail_next("ensure", EngineUnavailable("down"), times=2)

    for _ in range(2):
        with pytest.raises(EngineUnavailable):
            await engine.ensure(topology.net)
    await engine.ensure(topology.net)

    assert engine.calls["ensure"] == 3
    assert engine.created == [topology.net.name]


async def test_a_failure_lasts_until_healed() -> None:
    engine = FakeEngine()
    engine.fail_always(EngineUnavailable("down"), "list_containers")
    for _ in range(3):
        with pytest.raises(EngineUnavailable):
            await engine.list_containers("c1")

    engine.heal()

    assert await engine.list_containers("c1") == ()


async def test_a_call_waits_at_its_gate(topology: Topology) -> None:
    engine = FakeEngine()
    gate = engine.block("ensure")
    call = asyncio.create_task(engine.ensure(topology.net))
    await gate.reached.wait()
    assert engine.created == []

    gate.open()
    await call

    assert engine.created == [topology.net.name]


async def test_a_container_that_exits_at_once(topology: Topology) -> None:
    engine = FakeEngine()
    engine.exits_at_start("node01", exit_code=1, log="qemu: bad\n")
    await engine.ensure(topology.net)
    await engine.ensure(topology.node(1))
    await engine.ensure(topology.node(2))

    assert await engine.wait_exit(topology.node(1).name) == 1
    assert await engine.logs(topology.node(1).name) == "qemu: bad\n"
    states = {status.node: status.state for status in await engine.list_containers("c1")}
    assert states == {None: "running", "node01": "exited", "node02": "running"}


async def test_ports_run_out(topology: Topology) -> None:
    engine = FakeEngine()
    publication = Publication(port_range="40000-40001")
    crowded = compute_topology(
        "c1", make_spec(workers=1), instance="default", accelerator="tcg", publication=publication
    )
    with pytest.raises(PortsExhausted):
        await engine.ensure(crowded.net)

    assert engine.containers == {}


async def test_event_streams_break() -> None:
    engine = FakeEngine()
    events = engine.events()
    engine.disconnect()

    with pytest.raises(EngineUnavailable):
        await anext(events)


async def test_an_engine_that_is_down_answers_nobody_and_keeps_what_it_has(topology: Topology) -> None:
    engine = FakeEngine()
    await engine.ensure(topology.net)
    events, waiting = engine.events(), asyncio.create_task(engine.wait_exit(topology.net.name))
    following = asyncio.create_task(_first(events))
    await asyncio.sleep(0.01)

    engine.engine_down()

    for broken in (
        waiting,
        following,
        engine.list_containers("c1"),
        engine.list_resources(),
        anext(engine.events()),
        engine.info(),
    ):
        with pytest.raises(EngineUnavailable):
            await broken
    engine.engine_up()
    assert [status.state for status in await engine.list_containers("c1")] == ["running"]
    engine.exit(topology.net.name, 3)
    assert await engine.wait_exit(topology.net.name) == 3


async def test_an_engine_that_restarts_leaves_its_containers_down(topology: Topology) -> None:
    engine = FakeEngine()
    await engine.ensure(topology.net)
    await engine.ensure(topology.node(1))
    events = engine.events()
    waiting = asyncio.create_task(engine.wait_exit(topology.net.name))
    await asyncio.sleep(0.01)

    engine.restart_engine()

    for broken in (waiting, anext(events)):
        with pytest.raises(EngineUnavailable):
            await broken
    assert {status.state for status in await engine.list_containers("c1")} == {"exited"}
    assert await engine.wait_exit(topology.net.name) == 137


async def test_what_is_removed_by_hand_is_told_and_its_files_are_gone(topology: Topology) -> None:
    engine = FakeEngine()
    await engine.ensure(topology.net, [File("/overlay", b"old")])
    events = engine.events("c1")

    engine.remove_by_hand(topology.net.name)

    assert [(await anext(events)).action for _ in range(2)] == ["die", "destroy"]
    assert await engine.list_containers("c1") == ()
    await engine.ensure(topology.net)
    assert await engine.read_file(topology.net.name, "/overlay", tail_bytes=9) == b""


async def test_events_come_twice_and_late(topology: Topology) -> None:
    engine = FakeEngine()
    await engine.ensure(topology.net)
    events, of_another = engine.events("c1"), engine.events("c2")

    engine.repeat_events()

    assert [(await anext(events)).action for _ in range(2)] == ["create", "start"]
    engine.disconnect()
    with pytest.raises(EngineUnavailable):
        await anext(of_another)


async def test_a_pressure_that_a_test_sets() -> None:
    gauge = FakePressure()
    assert gauge.read().percent == 0
    gauge.percent = 80
    assert gauge.read().percent == 80


async def _first(events: AsyncIterator[EngineEvent]) -> EngineEvent:
    return await anext(events)


async def test_ssh_scripts_the_latest_first() -> None:
    ssh = FakeSsh()
    ssh.on("kubeadm", CommandResult(1, "", "first\n"))
    ssh.on("kubeadm init", lambda target, command, stdin: CommandResult(0, f"{target.port}\n{stdin.decode()}", ""))
    lines: list[str] = []

    ended = await ssh.run(TARGET, "kubeadm init", stdin=b"in", timeout=1, on_line=lines.append)

    assert (ended.stdout, lines) == ("2201\nin", ["2201", "in"])
    assert (await ssh.run(TARGET, "kubeadm join", timeout=1)).exit_code == 1
    assert (await ssh.run(TARGET, "true", timeout=1)).exit_code == 0
    assert ssh.ran("kubeadm") == [2201, 2201]


async def test_ssh_nodes_that_do_not_answer() -> None:
    ssh = FakeSsh()
    ssh.never_answers(2201)
    with pytest.raises(SshTimeout):
        await ssh.wait(TARGET, timeout=300)
    ssh.answers()
    ssh.refuses()
    with pytest.raises(SshRefused):
        await ssh.put(TARGET, [File("/x", b"")], timeout=1)
    ssh.answers()
    await ssh.put(TARGET, [File("/x", b"y")], timeout=1)

    assert ssh.files[2201]["/x"].content == b"y"


async def test_kube_nodes_and_pods_that_fail() -> None:
    kube = FakeKube()
    kube.not_ready("node02", "no CNI")
    with pytest.raises(NodeNotReady) as late:
        await kube.wait_nodes_ready(ACCESS, {"node01": "b1", "node02": "b2"}, timeout=600)
    assert late.value.evidence["node02"] == "no CNI"
    kube.recovers("node02")
    await kube.wait_nodes_ready(ACCESS, {"node01": "b1", "node02": "b2"}, timeout=600)
    kube.pods_fail("ImagePullBackOff")
    with pytest.raises(NotUsable):
        await kube.run_pod(ACCESS, "smoke", image="i", argv=["true"], timeout=1)
    kube.pods_fail(None)
    await kube.run_pod(ACCESS, "smoke", image="i", argv=["true"], timeout=1)

    assert kube.pods_run == ["smoke"]


async def test_kube_nodes_that_report_an_earlier_boot() -> None:
    kube = FakeKube()
    kube.stale_boot("node01")
    with pytest.raises(NodeNotReady):
        await kube.wait_nodes_ready(ACCESS, {"node01": "b1"}, timeout=600)
    (seen,) = await kube.nodes(ACCESS, timeout=1)
    assert seen.ready
    assert seen.boot_id != "b1"

    kube.recovers("node01")
    await kube.wait_nodes_ready(ACCESS, {"node01": "b1"}, timeout=600)

    assert [node.boot_id for node in await kube.nodes(ACCESS, timeout=1)] == ["b1"]
    assert await kube.nodes(replace(ACCESS, ca="of another cluster"), timeout=1) == ()


async def test_images_move_their_tags_and_come_from_a_registry() -> None:
    images = FakeImages()
    old = images.add("a:1", {"v": "1"})
    new = images.add("a:1", {"v": "2"})
    assert (await images.inspect("a:1")).id == new.id
    assert (await images.inspect(old.id)).references == ()
    assert len([step async for step in images.push("a:1")]) == 2

    await images.remove("a:1")
    with pytest.raises(ImageMissing):
        await images.inspect("a:1")
    assert [step.status async for step in images.pull("a:1")] == ["Downloading"]

    assert (await images.inspect("a:1")).id == new.id
