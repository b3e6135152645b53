"""The net container's program: its packets to the host."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dayfly.assets import provisioning
from dayfly.domain.cluster.topology import Publication, compute_topology
from tests.support.guest import until
from tests.support.service import docker
from tests.support.specs import make_spec

pytestmark = pytest.mark.docker

BARE = "dayfly/bare:latest"
ETHERTYPE_ARP = 0x0806
REQUEST = (1).to_bytes(2)
SEVERAL = 20
# The capabilities of a cluster's container: with more, the test could pass where a cluster fails.
NET = compute_topology("c1", make_spec(workers=1), instance="test", accelerator="tcg", publication=Publication()).net


@pytest.fixture
def network() -> Iterator[str]:
    """The name of a new network, and of its device: only packets of the test arrive there."""
    name = f"dayfly-{secrets.token_hex(4)}"  # no device's name may be longer
    docker("network", "create", "--opt", f"com.docker.network.bridge.name={name}", name)
    yield name
    docker("network", "rm", name)


@contextmanager
def started(network: str, command: Sequence[str]) -> Iterator[str]:
    """The name of a container that has begun its program and ends as `command`, with arguments for dnsmasq after it."""
    name = f"dayfly-test-{secrets.token_hex(4)}"
    mount = f"{provisioning() / 'toolbox' / 'net'}:/net:ro"
    environment = [f"--env={variable}={value}" for variable, value in NET.environment.items()]
    rights = [f"--cap-add={capability}" for capability in NET.capabilities]
    devices = [f"--device={path}" for path in NET.devices]
    options = ["--init", f"--network={network}", f"--volume={mount}", "--cap-drop=ALL", *rights, *devices, *environment]
    try:
        docker("run", "--detach", f"--name={name}", *options, BARE, "/net", *command)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def test_the_host_hears_at_once_whose_the_address_is_now(network: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE_ARP)) as heard:
        heard.bind((network, ETHERTYPE_ARP))
        heard.settimeout(20)
        with started(network, ["sh", "-c", "sleep 60"]) as name:
            own, gateway = addresses(name)
            asked = (heard.recv(64) for _ in range(SEVERAL))  # TimeoutError where there is none to come
            assert any(one[6:8] == REQUEST and one[14:18] == own and one[24:28] == gateway for one in asked)


def test_a_network_without_a_gateway_is_none_of_its_troubles() -> None:
    with started("none", ["sh", "-c", "echo it runs"]) as name:
        assert docker("wait", name).strip() == "0", docker("logs", name)
        assert docker("logs", name) == "it runs\n"


def test_its_dnsmasq_takes_no_inotify_instance(network: str) -> None:
    """All containers of a host share 128 inotify instances. dnsmasq takes one if it has a resolv.conf."""
    with started(network, ["dnsmasq", "--keep-in-foreground", "--user=root"]) as name:
        serving = until("dnsmasq serves", lambda: dnsmasq_of(name), seconds=20)
        assert "anon_inode:inotify" not in open_files(serving)
        docker("exec", "--detach", name, "dnsmasq", "--keep-in-foreground", "--user=root", "--port=5353")
        other = until("another serves", lambda: dnsmasq_of(name, besides=serving), seconds=20)
        assert "anon_inode:inotify" in open_files(other), "the look itself sees such an instance"


def dnsmasq_of(container: str, besides: int = 0) -> int | None:
    """The pid of a dnsmasq that has opened its sockets."""
    rows = [line.split() for line in docker("top", container, "-o", "pid,comm").splitlines()[1:]]
    pids = [int(pid) for pid, command in rows if command == "dnsmasq" and int(pid) != besides]
    return next((pid for pid in pids if any(one.startswith("socket:") for one in open_files(pid))), None)


def open_files(pid: int) -> list[str]:
    """The targets of a process's file descriptors."""
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def addresses(container: str) -> tuple[bytes, bytes]:
    """Its own and its gateway's."""
    [found] = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container)).values()
    return socket.inet_aton(found["IPAddress"]), socket.inet_aton(found["Gateway"])
