"""The net container's program: what it tells the host's side of its network."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from dayfly.assets import provisioning
from tests.support.service import docker

pytestmark = pytest.mark.docker

BARE = "dayfly/bare:latest"
ETHERTYPE_ARP = 0x0806
REQUEST = (1).to_bytes(2)
ENVIRONMENT = {
    "BRIDGE": "br0",
    "BRIDGE_MAC": "52:55:00:d1:55:fe",
    "BRIDGE_ADDRESS": "192.168.66.2/24",
    "SUBNET": "192.168.66.0/24",
    "TAPS": "tap01",
    "FORWARDS": "2201=192.168.66.101:22",
}


@pytest.fixture
def network() -> Iterator[str]:
    """The name of an empty one, and of its device: only what a test starts there is heard there."""
    name = f"dayfly-{secrets.token_hex(4)}"  # no device's name may be longer
    docker("network", "create", "--opt", f"com.docker.network.bridge.name={name}", name)
    yield name
    docker("network", "rm", name)


@contextmanager
def started(network: str, command: Sequence[str]) -> Iterator[str]:
    """The name of a container that has begun its program and ends as `command`."""
    name = f"dayfly-test-{secrets.token_hex(4)}"
    mount = f"{provisioning() / 'toolbox' / 'net'}:/net:ro"
    environment = [f"--env={variable}={value}" for variable, value in ENVIRONMENT.items()]
    rights = ["--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--device=/dev/net/tun"]
    options = ["--init", f"--network={network}", f"--volume={mount}", *rights, *environment]
    try:
        docker("run", "--detach", f"--name={name}", *options, BARE, "/net", *command)
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def test_the_host_hears_at_once_whose_the_address_is_now(network: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE_ARP)) as heard:
        heard.bind((network, ETHERTYPE_ARP))
        heard.settimeout(20)
        with started(network, ["sleep", "60"]) as name:
            own, gateway = addresses(name)
            while True:  # ends with TimeoutError
                asked = heard.recv(64)
                if asked[6:8] == REQUEST and asked[14:18] == own and asked[24:28] == gateway:
                    break


def test_a_network_without_a_gateway_is_none_of_its_troubles() -> None:
    with started("none", ["echo", "it runs"]) as name:
        assert docker("wait", name).strip() == "0", docker("logs", name)
        assert docker("logs", name) == "it runs\n"


def addresses(container: str) -> tuple[bytes, bytes]:
    """Its own and its gateway's."""
    [found] = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container)).values()
    return socket.inet_aton(found["IPAddress"]), socket.inet_aton(found["Gateway"])
