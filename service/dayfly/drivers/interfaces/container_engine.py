"""The engine that runs clusters' containers, in CRI's terms and not Docker's: a Kubernetes engine can follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.topology import ContainerSpec, Role
from dayfly.domain.engine_resource import EngineResource


@dataclass(frozen=True)
class File:
    """A file to write: absolute path, content, permission bits. Its owner is root."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o600


@dataclass(frozen=True)
class ExecResult:
    """The exit code and the complete output of a command."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class ContainerStatus:
    """One container as the engine reports it. `image` is the content id of its image.

    `started_at`: the last start; None before the first.
    """

    name: str
    cluster_id: str
    role: Role
    node: str | None
    state: Literal["created", "running", "paused", "exited"]
    exit_code: int | None
    image: str
    labels: Mapping[str, str]
    started_at: datetime | None = None


@dataclass(frozen=True)
class EngineEvent:
    """One event of a container: `start`, `die`, `destroy`, …"""

    at: datetime
    action: str
    container: str
    cluster_id: str
    exit_code: int | None = None


@dataclass(frozen=True)
class EngineInfo:
    """The engine and its host. Sizes in bytes; `root` is the folder of the engine's data.

    `name` is `Docker` or `Podman`. `limitations`: predicates that follow the name (`shows no progress of a push`).
    """

    version: str
    kernel: str
    cpus: int
    memory_bytes: int
    storage_driver: str
    cgroup_version: int
    cgroup_driver: str
    root: str
    ipv4_forwarding: bool
    name: str = "Docker"
    api_version: str = ""
    min_api_version: str = ""
    image_store: str = ""
    limitations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pressure:
    """Contention for the CPUs of the engine's host in percent, measured by `source`."""

    percent: float
    source: Literal["psi", "load"]


class PressureGauge(Protocol):
    """Reads the host's pressure from its kernel."""

    def read(self) -> Pressure: ...


class ByteStream(Protocol):
    """A duplex stream to a command in a container."""

    async def read(self) -> bytes:
        """The next bytes of standard output; b"" at its end."""

    async def write(self, data: bytes) -> None: ...


class ContainerEngine(Protocol):
    """The engine that runs clusters' containers."""

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = (), *, again: bool = False) -> None:
        """Create and start `container`. Adopt an existing one of that name and cluster; start it if it is not running.

        Host ports are chosen at creation and survive restarts. `files` are written before each start. `again`: the
        container has run before and is never created; raises ContainerRemoved when it is gone. Raises ImageMissing,
        PortsExhausted, DiskFull, EngineRefused.
        """

    async def list_containers(self, cluster_id: str) -> tuple[ContainerStatus, ...]:
        """All containers of a cluster, by exact label."""

    async def list_resources(self) -> tuple[EngineResource, ...]:
        """All resources of this installation, by exact label, in a constant number of calls.

        On an engine that loses volumes' labels: also volumes without any label that have a name of Dayfly's.
        """

    async def discard(self, resource: EngineResource) -> None:
        """Remove a resource of list_resources(), a container with its anonymous volumes. No error when it is gone.

        Raises NotRemoved when it still exists afterwards, EngineRefused when it is in use or has other labels by now.
        """

    async def stop(self, name: str) -> None:
        """Kill a container and keep it, with its files and logs. No error when it does not exist."""

    async def wait_exit(self, name: str) -> int | None:
        """Wait until the container is not running; its exit code, None when it does not exist."""

    async def remove(self, cluster_id: str, *, only: Collection[str] | None = None) -> None:
        """Remove a cluster's containers with their anonymous volumes, its networks and its volumes, by exact label.

        `only`: remove only the containers of these names. Returns when all are gone; otherwise raises NotRemoved.
        """

    async def exec(self, name: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> ExecResult:
        """Run `argv` in a container to completion. Raises ContainerExited when the container is not running."""

    def open(self, name: str, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        """Run `argv` in a running container, connected to its standard input and output."""

    async def logs(self, name: str, *, tail_lines: int = 200) -> str:
        """The last lines of a container's output, both streams, newest last."""

    async def read_file(self, name: str, path: str, *, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of a file in a container, running or not; b"" when there is no such file."""

    async def copy_out(self, name: str, path: str, folder: Path) -> None:
        """Copy a file of any size out of a container, running or not, into `folder`. It belongs to this process's user.

        Raises ContainerRemoved for a missing container or file, BakeFailed where it cannot be unpacked, DiskFull.
        """

    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        """Port of the namespace's outer address → the host's address and port that publish it."""

    def events(self, cluster_id: str | None = None) -> AsyncIterator[EngineEvent]:
        """The events from this call on, of one cluster or of this instance. Ends with EngineUnavailable."""

    async def info(self) -> EngineInfo: ...

    async def close(self) -> None: ...
