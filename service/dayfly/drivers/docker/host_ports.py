"""Chooses host ports for a new container, so that they survive restarts.

A port that the engine chooses changes with every start: callers would lose the cluster each time the engine restarts.
The chosen ports are in the container's configuration and in a label.
"""

from __future__ import annotations

import errno
import random
import re
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Final

from aiodocker import Docker

from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.drivers.docker.container_config import LABEL_PORTS
from dayfly.errors import PortsExhausted

DEFAULT_RANGE: Final = "20000-29999"
"""Below those that Linux gives to outgoing connections, 32768 and up: one of them could take a stopped cluster's."""

_PORT: Final = re.compile(r":(\d+)\b")


async def choose(
    docker: Docker,
    container: ContainerSpec,
    avoid: Collection[int],
    free: Callable[[str, int], bool] | None = None,
) -> Mapping[int, int]:
    """Port of the container → host port for it, at random among those that are free and not in `avoid`.

    Ports of stopped containers are theirs, of any installation on this engine. Raises PortsExhausted.
    """
    if not container.ports:
        return {}
    free = free or can_be_bound
    publication = container.publication
    asked = publication.port_range or DEFAULT_RANGE
    first, _, last = asked.partition("-")
    owned = await _owned(docker)
    left = [port for port in range(int(first), int(last) + 1) if port not in owned and port not in avoid]
    chosen: list[int] = []
    while left and len(chosen) < len(container.ports):
        # One look costs a system call, so only as many are looked at as are needed.
        at = random.randrange(len(left))  # noqa: S311 - spread, not secret
        left[at], left[-1] = left[-1], left[at]
        port = left.pop()
        if free(publication.address, port):
            chosen.append(port)
    if len(chosen) < len(container.ports):
        needed = len(container.ports)
        raise PortsExhausted(
            f"container {container.name} needs {needed} host ports, and {len(chosen)} of {asked} are free"
        )
    return dict(zip(container.ports, chosen, strict=True))


def can_be_bound(address: str, port: int) -> bool:
    """Whether nobody here listens on `port`. True as well where that cannot be told: the engine has the last word."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the engine does: a connection that ended a moment ago keeps nobody away.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def named_in(message: str, ports: Collection[int]) -> frozenset[int]:
    """Those of `ports` that the engine's refusal names; all of them where it names none."""
    named = {int(port) for port in _PORT.findall(message)}
    return frozenset(named.intersection(ports) or ports)


def ports_of(labels: Mapping[str, str]) -> frozenset[int]:
    """The host ports that a container with such labels was made with."""
    return frozenset(int(port) for port in labels.get(LABEL_PORTS, "").split(",") if port)


async def _owned(docker: Docker) -> frozenset[int]:
    # Also of other installations: taking a port of their stopped clusters would keep those from coming back.
    found = await docker.containers.list(all=True, filters={"label": [LABEL_PORTS]})
    return frozenset().union(*(ports_of(container["Labels"] or {}) for container in found))
