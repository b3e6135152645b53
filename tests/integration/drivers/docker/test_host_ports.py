"""Host ports on a real Docker: they stay with their container, run out, and are taken by other processes."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiodocker import Docker

from dayfly.domain.cluster.topology import ContainerSpec, Publication
from dayfly.drivers.docker import host_ports
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.interfaces import File
from dayfly.errors import PortsExhausted
from tests.support.steps import busybox, cluster_id, container, engine, free_ports, images, instance

__all__ = ["busybox", "engine", "images", "instance"]
pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("busybox")]


async def test_ports_that_run_out_leave_nothing_in_a_retrys_way(engine: DockerEngine, instance: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        net = container(
            instance, "net", role="net", ports=(2201,), publication=Publication("127.0.0.1", f"{port}-{port}")
        )
        with pytest.raises(PortsExhausted):
            await engine.ensure(net)
        assert await engine.list_containers(cluster_id(instance)) == ()

    await engine.ensure(net)

    assert (await engine.endpoints(cluster_id(instance)))[2201].port == port


async def test_a_range_of_ports_holds_as_many_as_it_has(engine: DockerEngine, instance: str) -> None:
    first = free_ports(2)
    publication = Publication("127.0.0.1", f"{first}-{first + 1}")
    await engine.ensure(container(instance, "net", role="net", ports=(2201, 6443), publication=publication))
    bound = {endpoint.port for endpoint in (await engine.endpoints(cluster_id(instance))).values()}
    assert bound == {first, first + 1}

    with pytest.raises(PortsExhausted):
        await engine.ensure(container(instance, "other", role="net", ports=(22,), publication=publication))


async def test_ports_that_a_look_does_not_show_as_taken_are_left_for_others(
    engine: DockerEngine, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an engine on another host: only its refusal shows that a port is in use."""
    monkeypatch.setattr(host_ports, "can_be_bound", lambda address, port: True)
    first = free_ports(4)
    publication = Publication("127.0.0.1", f"{first}-{first + 3}")
    net = container(instance, "net", role="net", ports=(2201, 6443), publication=publication)
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", first + 2)):
        await engine.ensure(net, [File("/run/dayfly/x", b"seed")])

        endpoints = await engine.endpoints(cluster_id(instance))
        assert {endpoint.port for endpoint in endpoints.values()} == {first + 1, first + 3}
        assert await engine.read_file(net.name, "/run/dayfly/x", tail_bytes=9) == b"seed"
        with pytest.raises(PortsExhausted):
            await engine.ensure(container(instance, "other", role="net", ports=(22,), publication=publication))
    assert [status.name for status in await engine.list_containers(cluster_id(instance))] == [net.name]


async def test_a_stopped_container_whose_port_is_taken_is_kept(engine: DockerEngine, instance: str) -> None:
    net = container(instance, "net", role="net", ports=(2201,))
    await engine.ensure(net, [File("/run/dayfly/x", b"state")])
    endpoints = await engine.endpoints(cluster_id(instance))
    await engine.stop(net.name)

    with (
        socket.create_server(("127.0.0.1", endpoints[2201].port)),
        pytest.raises(PortsExhausted, match=f"its host port {endpoints[2201].port} is taken"),
    ):
        await engine.ensure(net)
    await engine.ensure(net)

    assert await engine.endpoints(cluster_id(instance)) == endpoints
    assert await engine.read_file(net.name, "/run/dayfly/x", tail_bytes=9) == b"state"


async def test_many_at_once_find_ports_in_a_range_that_just_suffices(engine: DockerEngine, instance: str) -> None:
    first = free_ports(8)
    publication = Publication("127.0.0.1", f"{first}-{first + 7}")
    specs = [container(instance, f"n{n}", role="net", ports=(1, 2), publication=publication) for n in range(4)]

    async def until_made(spec: ContainerSpec) -> None:
        # A step tries again after PortsExhausted: two that chose the same may both have to give way.
        async with asyncio.timeout(60):
            while True:
                try:
                    return await engine.ensure(spec)
                except PortsExhausted:
                    await asyncio.sleep(0.2)

    await asyncio.gather(*map(until_made, specs))

    bindings = [await _published(spec) for spec in specs]
    assert sorted(port for ports in bindings for port in ports) == list(range(first, first + 8))


async def _published(spec: ContainerSpec) -> list[int]:
    async with Docker() as client:
        shown = await client.containers.container(spec.name).show()
    return [int(bound[0]["HostPort"]) for bound in shown["NetworkSettings"]["Ports"].values()]
