"""Clusters on one engine do not reach each other: the filters of two real namespaces, without machines.

Not here: guests (test_bare_clusters.py).
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import httpx
import pytest

from dayfly.domain.cluster import network
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from tests.support import guest
from tests.support.real_machines import real_spec
from tests.support.service import docker

pytestmark = pytest.mark.docker

BARE = "dayfly/bare:latest"
SECONDS = 60
REFUSED_SECONDS = 2
PORTS = (network.REGISTRY_PORT, network.ssh_forward_port(1), 9)
"""Of the namespace itself, of a machine, and of nothing."""


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])  # noqa: S104 (an address that other hosts reach is what this tests)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Topology, Topology]]:
    """Two clusters' networks and registries, whose ports are published at this address."""
    instance = f"test-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        engine, images = DockerEngine(instance=instance), DockerImages(instance=instance)
        stack.push_async_callback(engine.close)
        stack.push_async_callback(images.close)
        made = []
        for _ in range(2):
            name = f"test-{secrets.token_hex(4)}"
            topology = compute_topology(
                name,
                await real_spec(images, BARE),
                instance=instance,
                accelerator="tcg",
                publication=Publication(request.param),
            )
            stack.push_async_callback(engine.remove, name)
            await engine.ensure(topology.net)
            await engine.ensure(topology.registry)
            guest.until("its registry serves the host", partial(served, topology), seconds=SECONDS)
            made.append(topology)
        yield made[0], made[1]


def outer_address(topology: Topology) -> str:
    return docker("inspect", "--format={{.NetworkSettings.IPAddress}}", topology.net.name).strip()


def served(topology: Topology) -> bool | None:
    """True where the host reaches the registry at its published port; else None."""
    port = docker("port", topology.net.name, f"{network.REGISTRY_PORT}/tcp").split()[0].rpartition(":")[2]
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/", timeout=5).status_code == 200 or None
    except httpx.TransportError:
        return None


def connect(topology: Topology, address: str, port: int) -> str:
    """What a connection from the namespace says; empty where it was made."""
    argv = ["docker", "exec", topology.net.name, "socat", "-u", "OPEN:/dev/null", f"TCP:{address}:{port}"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False).stderr


@pytest.mark.parametrize("port", PORTS)
async def test_a_neighbour_is_refused_at_once(pair: tuple[Topology, Topology], port: int) -> None:
    here, there = pair
    began = time.monotonic()
    assert "Connection refused" in connect(here, outer_address(there), port)
    assert time.monotonic() - began < REFUSED_SECONDS


async def test_a_cluster_reaches_itself(pair: tuple[Topology, Topology]) -> None:
    for topology in pair:
        assert connect(topology, network.GATEWAY, network.REGISTRY_PORT) == ""


async def test_a_route_through_a_neighbour_leads_nowhere(pair: tuple[Topology, Topology]) -> None:
    """Another host of the network, or another container, may route to the addresses behind a namespace."""
    here, there = pair
    behind = "192.168.68.10"
    docker("exec", there.net.name, "ip", "address", "add", f"{behind}/24", "dev", network.BRIDGE)
    docker("exec", here.net.name, "ip", "route", "add", behind, "via", outer_address(there))
    assert "Connection refused" in connect(here, behind, network.REGISTRY_PORT)


async def test_the_filter_is_there_after_each_start(pair: tuple[Topology, Topology]) -> None:
    here, there = pair
    docker("restart", "--time=0", there.net.name)
    docker("restart", "--time=0", there.registry.name)
    guest.until("its registry serves the host", partial(served, there), seconds=SECONDS)
    assert "Connection refused" in connect(here, outer_address(there), network.REGISTRY_PORT)
