"""The contract of ContainerEngine, tested on the real engine and on the fake that other tests use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE, saved_volume, template_volume
from dayfly.domain.cluster.topology import ContainerSpec, Publication, Volume
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.interfaces import ContainerEngine, EngineEvent, ExecResult, File
from dayfly.errors import ContainerExited, ContainerRemoved, EngineRefused, ImageMissing, PortsExhausted
from dayfly.testing.fakes import FakeContainer, FakeEngine
from tests.support.steps import busybox, cluster_id, container, free_ports, images, instance

__all__ = ["busybox", "images", "instance"]
pytestmark = pytest.mark.docker


@pytest.fixture(params=["docker", "fake"])
async def engine(request: pytest.FixtureRequest, instance: str, busybox: str) -> AsyncIterator[ContainerEngine]:
    if request.param == "docker":
        real = DockerEngine(instance=instance)
        yield real
        await real.remove(cluster_id(instance))
        await real.close()
    else:
        fake = FakeEngine(instance=instance, images={busybox})
        fake.on_exec(_run_here)
        yield fake
        await fake.close()


async def _run_here(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ExecResult:
    """The fake's containers have no programs: the host's programs replace busybox's."""
    if argv[0] == "cat" and len(argv) > 1:
        return ExecResult(0, container.files[argv[1]], b"")
    child = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await child.communicate(stdin)
    return ExecResult(child.returncode or 0, stdout, stderr)


@pytest.fixture
def net(instance: str) -> ContainerSpec:
    return container(instance, "net", role="net", ports=(2201, 6443))


@pytest.fixture
def node(instance: str, net: ContainerSpec) -> ContainerSpec:
    return container(instance, "node01", joins=net.name)


async def test_what_was_ensured_runs_and_is_observed(
    engine: ContainerEngine, instance: str, net: ContainerSpec, node: ContainerSpec
) -> None:
    await engine.ensure(net)
    await engine.ensure(node)

    seen = {status.name: status for status in await engine.list_containers(cluster_id(instance))}

    assert seen.keys() == {net.name, node.name}
    assert (seen[node.name].state, seen[node.name].exit_code) == ("running", None)
    assert (seen[node.name].role, seen[node.name].node) == ("node", "node01")
    assert (seen[net.name].role, seen[net.name].node) == ("net", None)
    assert node.labels.items() <= dict(seen[node.name].labels).items()


async def test_ensure_again_changes_nothing(engine: ContainerEngine, instance: str, net: ContainerSpec) -> None:
    await engine.ensure(net)
    before = (await engine.list_containers(cluster_id(instance)), await engine.endpoints(cluster_id(instance)))

    await engine.ensure(net)

    assert (await engine.list_containers(cluster_id(instance)), await engine.endpoints(cluster_id(instance))) == before


async def test_files_are_there_when_it_starts(engine: ContainerEngine, net: ContainerSpec) -> None:
    await engine.ensure(net, [File("/run/dayfly/seed.tar", b"\x00seed\xff"), File("/made/for/it", b"x")])

    assert (await engine.exec(net.name, ["cat", "/run/dayfly/seed.tar"], timeout=10)).stdout == b"\x00seed\xff"
    assert await engine.read_file(net.name, "/run/dayfly/seed.tar", tail_bytes=3) == b"ed\xff"
    assert await engine.read_file(net.name, "/made/for/it", tail_bytes=100) == b"x"
    assert await engine.read_file(net.name, "/not/there", tail_bytes=100) == b""


async def test_a_file_can_be_read_after_the_end(engine: ContainerEngine, net: ContainerSpec) -> None:
    await engine.ensure(net, [File("/var/log/dayfly/console.log", b"last words")])
    await engine.stop(net.name)

    assert await engine.read_file(net.name, "/var/log/dayfly/console.log", tail_bytes=5) == b"words"
    assert await engine.read_file(net.name, "/not/there", tail_bytes=5) == b""
    assert await engine.read_file("dayfly-none-net", "/etc/x", tail_bytes=5) == b""


async def test_a_file_is_copied_out_whether_the_container_runs_or_not(
    engine: ContainerEngine, net: ContainerSpec, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4096
    await engine.ensure(net, [File("/dayfly/disk.qcow2", content)])
    for folder in (tmp_path / "runs", tmp_path / "stopped"):
        folder.mkdir()
        await engine.copy_out(net.name, "/dayfly/disk.qcow2", folder)
        assert names(folder) == ["disk.qcow2"]
        assert (folder / "disk.qcow2").read_bytes() == content
        await engine.stop(net.name)


async def test_what_is_not_there_is_not_copied_out(engine: ContainerEngine, net: ContainerSpec, tmp_path: Path) -> None:
    await engine.ensure(net)
    for name, path in ((net.name, "/not/there"), ("dayfly-none-net", "/etc/x")):
        with pytest.raises(ContainerRemoved, match="does not exist"):
            await engine.copy_out(name, path, tmp_path)
    assert names(tmp_path) == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_stopped_container_is_kept_and_started_again(
    engine: ContainerEngine, instance: str, net: ContainerSpec
) -> None:
    await engine.ensure(net, [File("/run/dayfly/x", b"kept")])
    await engine.stop(net.name)
    (stopped,) = await engine.list_containers(cluster_id(instance))
    await engine.stop(net.name)

    await engine.ensure(net)

    assert (stopped.state, stopped.exit_code) == ("exited", 137)
    (again,) = await engine.list_containers(cluster_id(instance))
    assert again.state == "running"
    assert (await engine.exec(net.name, ["cat", "/run/dayfly/x"], timeout=10)).stdout == b"kept"


async def test_what_is_only_to_be_started_again_is_never_made(
    engine: ContainerEngine, instance: str, net: ContainerSpec
) -> None:
    await engine.ensure(net, [File("/run/dayfly/x", b"kept")])
    await engine.stop(net.name)
    await engine.ensure(net, again=True)
    assert (await engine.exec(net.name, ["cat", "/run/dayfly/x"], timeout=10)).stdout == b"kept"

    await engine.remove(cluster_id(instance))
    with pytest.raises(ContainerRemoved, match=net.name):
        await engine.ensure(net, again=True)
    assert await engine.list_containers(cluster_id(instance)) == ()


async def test_stopping_what_is_not_there_is_no_error(engine: ContainerEngine) -> None:
    await engine.stop("dayfly-none-net")


async def test_an_end_is_awaited(engine: ContainerEngine, net: ContainerSpec) -> None:
    await engine.ensure(net)
    waiting = asyncio.create_task(engine.wait_exit(net.name))
    await asyncio.sleep(0.1)
    assert not waiting.done()

    await engine.stop(net.name)

    async with asyncio.timeout(10):
        assert await waiting == 137
        assert await engine.wait_exit(net.name) == 137
        assert await engine.wait_exit("dayfly-none-net") is None


async def test_exec_tells_both_streams_and_the_exit_code(engine: ContainerEngine, net: ContainerSpec) -> None:
    await engine.ensure(net)

    ended = await engine.exec(net.name, ["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=10)

    assert ended == ExecResult(7, b"out\n", b"err\n")


async def test_exec_feeds_standard_input_to_its_end(engine: ContainerEngine, net: ContainerSpec) -> None:
    await engine.ensure(net)
    data = bytes(range(256)) * 4096

    assert (await engine.exec(net.name, ["cat"], stdin=data, timeout=30)).stdout == data


async def test_exec_needs_a_running_container(engine: ContainerEngine, net: ContainerSpec) -> None:
    with pytest.raises(ContainerExited):
        await engine.exec(net.name, ["true"], timeout=10)
    await engine.ensure(net)
    await engine.stop(net.name)
    with pytest.raises(ContainerExited):
        await engine.exec(net.name, ["true"], timeout=10)
    with pytest.raises(ContainerExited):
        async with engine.open(net.name, ["cat"]):
            pytest.fail("nothing can be opened there")


async def test_every_port_is_published_on_loopback(engine: ContainerEngine, instance: str, net: ContainerSpec) -> None:
    await engine.ensure(net)

    endpoints = await engine.endpoints(cluster_id(instance))

    assert endpoints.keys() == {2201, 6443}
    assert {endpoint.host for endpoint in endpoints.values()} == {"127.0.0.1"}
    assert len({endpoint.port for endpoint in endpoints.values()}) == 2


async def test_ports_stay_over_a_stop(engine: ContainerEngine, instance: str, net: ContainerSpec) -> None:
    await engine.ensure(net)
    before = await engine.endpoints(cluster_id(instance))
    await engine.stop(net.name)
    assert await engine.endpoints(cluster_id(instance)) == {}

    await engine.ensure(net)

    assert await engine.endpoints(cluster_id(instance)) == before


async def test_ports_of_a_stopped_container_are_not_given_to_another(
    engine: ContainerEngine, instance: str, net: ContainerSpec
) -> None:
    first = free_ports(3)
    publication = Publication("127.0.0.1", f"{first}-{first + 2}")
    await engine.ensure(replace(net, publication=publication))
    before = await engine.endpoints(cluster_id(instance))
    await engine.stop(net.name)
    with pytest.raises(PortsExhausted):
        await engine.ensure(container(instance, "other", role="net", ports=(22, 23), publication=publication))
    one = container(instance, "one", role="net", ports=(22,), publication=publication)

    await engine.ensure(one)
    await engine.ensure(replace(net, publication=publication))

    after = await engine.endpoints(cluster_id(instance))
    assert {port: after[port] for port in before} == before
    assert {endpoint.port for endpoint in after.values()} == {first, first + 1, first + 2}


async def test_when_a_container_was_started_last_is_told(
    engine: ContainerEngine, instance: str, net: ContainerSpec, node: ContainerSpec
) -> None:
    async def started() -> dict[str, datetime]:
        seen = await engine.list_containers(cluster_id(instance))
        return {status.name: status.started_at for status in seen if status.started_at is not None}

    await engine.ensure(net)
    await engine.ensure(node)
    first = await started()
    assert first[net.name] < first[node.name]

    await engine.stop(net.name)
    assert await started() == first, "it is the start that counts, also after the end"
    await engine.ensure(net)
    second = await started()

    assert second[node.name] == first[node.name]
    assert second[net.name] > second[node.name]


async def test_remove_takes_one_node_or_all_and_nothing_of_others(
    engine: ContainerEngine, instance: str, net: ContainerSpec, node: ContainerSpec
) -> None:
    # An id that begins as ours, and a container of the same cluster id in another installation.
    other = f"{cluster_id(instance)}x"
    neighbour = container(instance, "net", role="net", cluster=other)
    await engine.ensure(neighbour)
    await engine.ensure(net)
    await engine.ensure(node)
    try:
        await engine.remove(cluster_id(instance), only={node.name})
        assert [status.name for status in await engine.list_containers(cluster_id(instance))] == [net.name]

        await engine.remove(cluster_id(instance))
        await engine.remove(cluster_id(instance))
        assert await engine.list_containers(cluster_id(instance)) == ()
        assert [status.state for status in await engine.list_containers(other)] == ["running"]
    finally:
        await engine.remove(other)


async def test_a_volume_has_its_labels_and_goes_with_its_cluster(
    engine: ContainerEngine, instance: str, net: ContainerSpec
) -> None:
    cluster, template = cluster_id(instance), f"t{cluster_id(instance)}"
    saved = Volume(saved_volume(cluster), "/saved", {LABEL_CLUSTER: cluster, LABEL_INSTANCE: instance})
    shared = Volume(template_volume(template), "/template", {LABEL_TEMPLATE: template, LABEL_INSTANCE: instance})
    await engine.ensure(replace(net, volumes=(saved, shared)))
    volumes = {each.name: each for each in await engine.list_resources() if each.kind == "volume"}
    assert (volumes[saved.name].cluster_id, volumes[saved.name].labelled) == (cluster, True)
    assert (volumes[shared.name].template_id, volumes[shared.name].labelled) == (template, True)

    await engine.remove(cluster)

    assert [each.name for each in await engine.list_resources()] == [shared.name], "a template outlives its forks"
    await engine.discard(volumes[shared.name])
    assert await engine.list_resources() == ()


async def test_two_removals_at_once(
    engine: ContainerEngine, instance: str, net: ContainerSpec, node: ContainerSpec
) -> None:
    await engine.ensure(net)
    await engine.ensure(node)

    await asyncio.gather(*(engine.remove(cluster_id(instance)) for _ in range(3)))

    assert await engine.list_containers(cluster_id(instance)) == ()


async def test_a_name_of_somebody_else_is_refused(engine: ContainerEngine, instance: str, net: ContainerSpec) -> None:
    await engine.ensure(net)
    thief = container(instance, "net", role="net", cluster="other")
    thief = ContainerSpec(net.name, "net", thief.image, thief.command, thief.labels)

    with pytest.raises(EngineRefused, match="does not belong to this installation"):
        await engine.ensure(thief)

    assert await engine.list_containers("other") == ()


async def test_a_missing_image(engine: ContainerEngine, instance: str) -> None:
    with pytest.raises(ImageMissing):
        await engine.ensure(container(instance, "net", role="net", image="dayfly/none:latest"))

    assert await engine.list_containers(cluster_id(instance)) == ()


async def test_a_namespace_that_is_not_there(engine: ContainerEngine, instance: str, node: ContainerSpec) -> None:
    with pytest.raises(EngineRefused):
        await engine.ensure(node)

    assert await engine.list_containers(cluster_id(instance)) == ()


async def test_events_tell_of_this_cluster_only(engine: ContainerEngine, instance: str, net: ContainerSpec) -> None:
    neighbour = container(instance, "net", role="net", cluster=f"{cluster_id(instance)}x")
    events = engine.events(cluster_id(instance))
    await engine.ensure(neighbour)
    await engine.remove(f"{cluster_id(instance)}x")
    await engine.ensure(net)
    await engine.stop(net.name)
    await engine.remove(cluster_id(instance))

    seen: list[EngineEvent] = []
    async with asyncio.timeout(10), aclosing(events):  # type: ignore[type-var]
        async for event in events:
            seen.append(event)
            if event.action == "destroy":
                break

    assert {event.container for event in seen} == {net.name}
    assert {event.cluster_id for event in seen} == {cluster_id(instance)}
    told = [event.action for event in seen if event.action in {"create", "start", "die", "destroy"}]
    assert told == ["create", "start", "die", "destroy"]
    assert [event.exit_code for event in seen if event.action == "die"] == [137]


async def test_the_host_is_described(engine: ContainerEngine) -> None:
    info = await engine.info()

    assert info.cpus >= 1
    assert info.memory_bytes > 1 << 20
    assert info.version
