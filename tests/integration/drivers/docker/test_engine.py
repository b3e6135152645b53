"""Behaviour that only a real Docker has: effective privileges, streams, and the extent of a removal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from aiodocker import Docker

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE
from dayfly.drivers.docker.container_config import container_config
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.interfaces import File
from dayfly.errors import CommandFailed, EngineRefused
from tests.support.steps import busybox, cluster_id, container, engine, images, instance

__all__ = ["busybox", "engine", "images", "instance"]
pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("busybox")]


@pytest.fixture
async def docker() -> AsyncIterator[Docker]:
    async with Docker() as client:
        yield client


async def test_effective_capabilities_are_those_of_the_spec(engine: DockerEngine, instance: str) -> None:
    net = container(instance, "net", role="net", capabilities=("NET_ADMIN",))
    node = container(instance, "node01", joins=net.name)
    await engine.ensure(net)
    await engine.ensure(node)

    async def status(name: str, key: str) -> str:
        text = (await engine.exec(name, ["cat", "/proc/1/status"], timeout=10)).stdout.decode()
        found = re.search(rf"^{key}:\s*(\w+)$", text, re.MULTILINE)
        assert found is not None
        return found[1]

    net_admin = 1 << 12
    assert int(await status(net.name, "CapEff"), 16) == net_admin
    assert int(await status(node.name, "CapEff"), 16) == 0
    assert int(await status(node.name, "CapBnd"), 16) == 0
    assert await status(node.name, "NoNewPrivs") == "1"


async def test_sysctls_tmpfs_and_environment_arrive(engine: DockerEngine, instance: str) -> None:
    net = container(
        instance,
        "net",
        role="net",
        sysctls={"net.ipv4.ip_forward": "1"},
        tmpfs={"/ram": "size=3m,mode=0700"},
        environment={"BRIDGE": "br0 of mine"},
    )
    await engine.ensure(net)

    looked = await engine.exec(
        net.name,
        ["sh", "-c", 'cat /proc/sys/net/ipv4/ip_forward; grep " /ram " /proc/mounts; echo "$BRIDGE"'],
        timeout=10,
    )

    forward, mount, bridge = looked.stdout.decode().splitlines()
    assert (forward, bridge) == ("1", "br0 of mine")
    assert "tmpfs" in mount
    assert "size=3072k" in mount


async def test_one_that_was_created_and_never_started_gets_its_files_and_starts(
    engine: DockerEngine, docker: Docker, instance: str
) -> None:
    net = container(instance, "net", role="net")
    await docker.containers.create(container_config(net), name=net.name)

    await engine.ensure(net, [File("/run/dayfly/seed.tar", b"seed")])

    assert await engine.read_file(net.name, "/run/dayfly/seed.tar", tail_bytes=10) == b"seed"


async def test_a_command_that_does_not_exist_in_the_image(engine: DockerEngine, instance: str) -> None:
    with pytest.raises(EngineRefused) as refused:
        await engine.ensure(container(instance, "net", "/no-such-program", role="net"))
    assert "no-such-program" in refused.value.operator_detail

    assert await engine.list_containers(cluster_id(instance)) == ()


async def test_logs_have_both_streams_and_an_end(engine: DockerEngine, instance: str) -> None:
    spec = container(instance, "net", "sh", "-c", "for i in 1 2 3; do echo $i; done; echo oops >&2; exit 3", role="net")
    await engine.ensure(spec)

    assert await engine.wait_exit(spec.name) == 3
    # Two streams are not ordered between each other.
    assert sorted((await engine.logs(spec.name)).split()) == ["1", "2", "3", "oops"]
    assert len((await engine.logs(spec.name, tail_lines=2)).split()) == 2
    assert await engine.logs("dayfly-none-net") == ""


async def test_talking_to_a_command(engine: DockerEngine, instance: str) -> None:
    spec = container(instance, "net", role="net")
    await engine.ensure(spec)

    async with asyncio.timeout(10), engine.open(spec.name, ["sh", "-c", "echo err >&2; exec cat"]) as stream:
        await stream.write(b"ping")
        assert await stream.read() == b"ping"
        await stream.write(b"pong")
        assert await stream.read() == b"pong"


async def test_a_command_that_ends_ends_the_talk(engine: DockerEngine, instance: str) -> None:
    spec = container(instance, "net", role="net")
    await engine.ensure(spec)

    async with asyncio.timeout(10), engine.open(spec.name, ["true"]) as stream:
        assert await stream.read() == b""
        await stream.write(b"is anybody there?")
        assert await stream.read() == b"", "who talks on learns it by reading"


async def test_a_command_that_overruns(engine: DockerEngine, instance: str) -> None:
    spec = container(instance, "net", role="net")
    await engine.ensure(spec)

    with pytest.raises(CommandFailed, match=r"0\.3 s"):
        await engine.exec(spec.name, ["sleep", "60"], timeout=0.3)


async def test_anonymous_volumes_and_labelled_networks_go_with_the_cluster(
    engine: DockerEngine, docker: Docker, instance: str
) -> None:
    labels = {LABEL_CLUSTER: cluster_id(instance), LABEL_INSTANCE: instance}
    others = labels | {LABEL_INSTANCE: "somebody-else"}
    network = await docker.networks.create({"Name": f"{instance}-mine", "Labels": labels})
    await docker.volumes.create({"Name": f"{instance}-mine", "Labels": labels})  # type: ignore[no-untyped-call]
    kept = await docker.volumes.create({"Name": f"{instance}-theirs", "Labels": others})  # type: ignore[no-untyped-call]
    spec = container(instance, "net", role="net")
    config = container_config(spec) | {"Volumes": {"/data": {}}}
    made = await docker.containers.create(config, name=spec.name)
    await engine.ensure(spec)
    (mount,) = (await made.show())["Mounts"]

    await engine.remove(cluster_id(instance))

    listed = await docker.volumes.list()  # type: ignore[no-untyped-call]
    volumes = {volume["Name"] for volume in listed["Volumes"]}
    assert volumes.isdisjoint({mount["Name"], f"{instance}-mine"})
    assert f"{instance}-theirs" in volumes
    assert network.id not in {found["Id"] for found in await docker.networks.list()}
    await kept.delete()


async def test_many_who_wait_do_not_keep_others_from_the_engine(engine: DockerEngine, instance: str) -> None:
    spec = container(instance, "net", role="net")
    await engine.ensure(spec)
    waiting = [asyncio.create_task(engine.wait_exit(spec.name)) for _ in range(150)]
    await asyncio.sleep(1)

    async with asyncio.timeout(20):
        assert len(await engine.list_containers(cluster_id(instance))) == 1
        await engine.stop(spec.name)
        assert set(await asyncio.gather(*waiting)) == {137}


async def test_a_container_that_was_being_made_when_we_were_cut_off_is_removed_with_the_rest(
    engine: DockerEngine, instance: str
) -> None:
    """An engine finishes a request after its caller has left: this must not happen after a removal."""
    for delay_seconds in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08):
        making = asyncio.create_task(engine.ensure(container(instance, "net", role="net")))
        await asyncio.sleep(delay_seconds)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        await engine.remove(cluster_id(instance))
        await asyncio.sleep(0.3)
        assert await engine.list_containers(cluster_id(instance)) == ()
