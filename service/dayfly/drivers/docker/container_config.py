"""A container's configuration for Docker: pure, so that its privileges can be tested without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dayfly.domain.cluster.topology import ContainerSpec, Volume
from dayfly.drivers.interfaces import ToolContainer

STOP_SECONDS: Final = 0
"""On a forced removal Podman sends SIGTERM and waits for so long; Docker kills at once."""
LABEL_PORTS: Final = "dayfly.ports"
"""The container's host ports, `20017,23456`: one call lists the labels of all containers, running or not, while
configurations need one call each."""


def container_config(container: ContainerSpec, host_ports: Mapping[int, int] | None = None) -> dict[str, Any]:
    """The body of `POST /containers/create`. The empty entrypoint leaves only the command.

    `host_ports`: port of the container → port of the host, for every port of `container`.
    """
    host_ports = host_ports or {}
    host = _least_privilege() | {
        "CapAdd": list(container.capabilities),
        "Devices": [_device(path) for path in container.devices],
        "Sysctls": dict(container.sysctls),
        "NetworkMode": f"container:{container.joins}" if container.joins else "default",
        "PortBindings": {
            f"{port}/tcp": [{"HostIp": container.publication.address, "HostPort": str(host_ports[port])}]
            for port in container.ports
        },
        "Tmpfs": dict(container.tmpfs),
        "Mounts": [_mount(volume) for volume in container.volumes],
        "CpuShares": container.cpu_shares,
    }
    return {
        "Image": container.image,
        "Cmd": list(container.command),
        "Entrypoint": [],
        "Env": [f"{name}={value}" for name, value in container.environment.items()],
        "Labels": dict(container.labels) | _port_label(host_ports),
        "ExposedPorts": {f"{port}/tcp": {} for port in container.ports},
        "StopTimeout": STOP_SECONDS,
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
        "StopTimeout": STOP_SECONDS,
        "HostConfig": _least_privilege() | {"Devices": [_device(path) for path in devices], "NetworkMode": "none"},
    }


def tool_config(tool: ToolContainer, socket: Path, labels: Mapping[str, str]) -> dict[str, Any]:
    """A bake's container, which the engine removes when its program ends. `socket` is the engine's, on the host."""
    # Seccomp's default profile stays: it follows the capabilities. AppArmor's docker-default always denies `mount`, and
    # SELinux' container label denies the host's files and the engine's socket.
    security = ["no-new-privileges"]
    if tool.mounts_file_systems:
        security.append("apparmor=unconfined")
    if tool.mounts_file_systems or tool.folders or tool.engine_socket:
        security.append("label=disable")
    mounts = [_bind(folder, str(folder), read_only=True) for folder in tool.folders]
    mounts += [
        {"Type": "volume", "Source": name, "Target": path, "VolumeOptions": {"Labels": dict(labels), "NoCopy": True}}
        for name, path in tool.volumes.items()
    ]
    if tool.engine_socket is not None:
        mounts.append(_bind(socket, tool.engine_socket, read_only=False))
    return {
        "Image": tool.image,
        "Cmd": list(tool.command),
        "Entrypoint": [],
        "User": "0:0",
        "Env": [f"{name}={value}" for name, value in tool.environment.items()],
        "Labels": dict(labels),
        # The program's input ends with the caller's connection: the program notices when the caller is gone.
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": True,
        "StdinOnce": True,
        "HostConfig": _least_privilege()
        | {
            "AutoRemove": True,
            "CapAdd": list(tool.capabilities),
            "SecurityOpt": security,
            # The program reaches package archives and proxies (also on the host's loopback), and published ports.
            "NetworkMode": "host",
            # Files need the owners that they have on a node, even where the engine remaps user ids.
            "UsernsMode": "host",
            "Mounts": mounts,
        },
    }


def never_run_config(image: str) -> dict[str, Any]:
    """A container for files only. Without labels: an image of the container would inherit them."""
    return {"Image": image, "HostConfig": _least_privilege() | {"NetworkMode": "none"}}


def _least_privilege() -> dict[str, Any]:
    return {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": False,
        "RestartPolicy": {"Name": "no"},
        # A console that prints without end must not fill the host's disk.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}},
    }


def _mount(volume: Volume) -> dict[str, Any]:
    return {
        "Type": "volume",
        "Source": volume.name,
        "Target": volume.path,
        "ReadOnly": volume.read_only,
        "VolumeOptions": {"Labels": dict(volume.labels), "NoCopy": True},
    }


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def _device(path: str) -> dict[str, str]:
    return {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"}


def _port_label(host_ports: Mapping[int, int]) -> dict[str, str]:
    return {LABEL_PORTS: ",".join(map(str, host_ports.values()))} if host_ports else {}
