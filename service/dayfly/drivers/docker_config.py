"""What Docker is told of a container: pure, so that its privileges can be tested without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dayfly.domain.topology import ContainerSpec


def container_config(container: ContainerSpec) -> dict[str, Any]:
    """The body of `POST /containers/create`. Entrypoint is emptied: the command is all that runs."""
    host = _least_privilege() | {
        "CapAdd": list(container.capabilities),
        "Devices": [_device(path) for path in container.devices],
        "Sysctls": dict(container.sysctls),
        "NetworkMode": f"container:{container.joins}" if container.joins else "default",
        "PortBindings": {f"{port}/tcp": [_binding(container)] for port in container.ports},
        "Tmpfs": dict(container.tmpfs),
        "CpuShares": container.cpu_shares,
    }
    return {
        "Image": container.image,
        "Cmd": list(container.command),
        "Entrypoint": [],
        "Env": [f"{name}={value}" for name, value in container.environment.items()],
        "Labels": dict(container.labels),
        "ExposedPorts": {f"{port}/tcp": {} for port in container.ports},
        "HostConfig": host,
    }


def one_shot_config(image: str, argv: Sequence[str], devices: Sequence[str], labels: dict[str, str]) -> dict[str, Any]:
    """A container that runs `argv` once, without privileges and without a network."""
    return {
        "Image": image,
        "Cmd": list(argv),
        "Entrypoint": [],
        "Labels": labels,
        "NetworkDisabled": True,
        "HostConfig": _least_privilege() | {"Devices": [_device(path) for path in devices], "NetworkMode": "none"},
    }


def _least_privilege() -> dict[str, Any]:
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": False,
        "RestartPolicy": {"Name": "no"},
        # A console that prints for ever must not fill the host's disk.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}},
    }


def _device(path: str) -> dict[str, str]:
    return {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"}


def _binding(container: ContainerSpec) -> dict[str, str]:
    # An empty port lets the engine pick any; a range lets it pick one of these.
    return {"HostIp": container.publication.address, "HostPort": container.publication.port_range or ""}
