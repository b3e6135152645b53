"""Chooses host ports for a new container, so that they survive restarts.

A port that the engine chooses changes with every start: callers would lose the cluster each time the engine restarts.
The chosen ports are in the container's configuration and in a label.
"""

from __future__ import annotations

import errno
import random
import re
import socket
from collections.abc import Collection, Mapping
from typing import Final

from aiodocker import Docker

from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.drivers.docker.container_config import LABEL_PORTS
from dayfly.drivers.docker.objects import labels_of
from dayfly.errors import PortsExhausted

DEFAULT_RANGE: Final = "20000-29999"
"""Below Linux's ports for outgoing connections (32768 and up), which could take the port of a stopped cluster."""

_PORT: Final = re.compile(r":(\d+)\b")


async def choose(docker: Docker, container: ContainerSpec, avoid: Collection[int]) -> Mapping[int, int]:
    """Port of the container → host port, at random among the free ports that are not in `avoid`.

    Ports of stopped containers are not free, whatever their installation. Raises PortsExhausted.
    """
    if not container.ports:
        return {}
    publication = container.publication
    port_range = publication.port_range or DEFAULT_RANGE
    first, _, last = port_range.partition("-")
    owned = await _owned(docker)
    left = [port for port in range(int(first), int(last) + 1) if port not in owned and port not in avoid]
    chosen: list[int] = []
    while left and len(chosen) < len(container.ports):
        # Each check costs a system call: only as many ports are checked as are needed.
        at = random.randrange(len(left))  # noqa: S311 - spread, not secret
        left[at], left[-1] = left[-1], left[at]
        port = left.pop()
        if can_be_bound(publication.address, port):
            chosen.append(port)
    if len(chosen) < len(container.ports):
        needed = len(container.ports)
        raise PortsExhausted(
            f"container {container.name} needs {needed} host ports, but {len(chosen)} of {port_range} are free"
        )
    return dict(zip(container.ports, chosen, strict=True))


def can_be_bound(address: str, port: int) -> bool:
    """Whether no process of this host listens on `port`. True when in doubt: the engine decides at the start."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the engine does: a connection in TIME_WAIT does not occupy its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def named_in(message: str, ports: Collection[int]) -> frozenset[int]:
    """The `ports` that the engine's refusal names; all `ports` when it names none."""
    named = {int(port) for port in _PORT.findall(message)}
    return frozenset(named.intersection(ports) or ports)


def ports_of(labels: Mapping[str, str]) -> frozenset[int]:
    """The host ports of a container with `labels`."""
    return frozenset(int(port) for port in labels.get(LABEL_PORTS, "").split(",") if port)


async def _owned(docker: Docker) -> frozenset[int]:
    # Other installations', too: their stopped clusters could not start again without their ports.
    found = await docker.containers.list(all=True, filters={"label": [LABEL_PORTS]})
    return frozenset().union(*(ports_of(labels_of(container)) for container in found))
