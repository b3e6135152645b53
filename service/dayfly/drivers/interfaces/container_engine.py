"""The engine that runs clusters' containers, in CRI's terms and not Docker's: a Kubernetes engine can follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.topology import ContainerSpec, Role
from dayfly.domain.engine_resource import EngineResource


@dataclass(frozen=True)
class File:
    """A file to be put somewhere: absolute path, content, permission bits. Its owner is root."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o600


@dataclass(frozen=True)
class ExecResult:
    """How a command ended. The streams are whole."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class ContainerStatus:
    """One container as the engine sees it. `image` is the content id it was made from.

    `started_at`: the last time it was started; None before the first.
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
    """Something the engine did, or saw, to a container: `start`, `die`, `destroy`, …"""

    at: datetime
    action: str
    container: str
    cluster_id: str
    exit_code: int | None = None


@dataclass(frozen=True)
class EngineInfo:
    """The engine and the host that it runs on. Sizes in bytes; `root` is where it keeps its data.

    `name` is `Docker` or `Podman`. `limitations`: what this engine does not do, each to be read after its name.
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


class ByteStream(Protocol):
    """A duplex stream to a command in a container."""

    async def read(self) -> bytes:
        """What came next on standard output; b"" at its end."""
        ...

    async def write(self, data: bytes) -> None: ...


class ContainerEngine(Protocol):
    """Where clusters' containers run."""

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = (), *, again: bool = False) -> None:
        """Make `container` exist and run; one of that name and cluster is adopted (started when it is not running).

        Its host ports are chosen when it is made and stay its own: started again, it is published where it was.
        `files` are written before each start. `again`: it has run before, and is never made: ContainerRemoved where it
        is gone. Raises ImageMissing, PortsExhausted, DiskFull, EngineRefused.
        """
        ...

    async def list_containers(self, cluster_id: str) -> tuple[ContainerStatus, ...]:
        """All containers of a cluster, by exact label."""
        ...

    async def list_resources(self) -> tuple[EngineResource, ...]:
        """All that this installation has on the engine, by exact label, in one cheap look whatever their number.

        On an engine that loses volumes' labels: volumes without any label whose names are those of Dayfly's, too.
        """
        ...

    async def discard(self, resource: EngineResource) -> None:
        """Remove one thing that list_resources() showed, a container with its anonymous volumes. No error when it is
        gone.

        Looks afterwards. Raises NotRemoved when it is still there, EngineRefused when it is in use or another one.
        """
        ...

    async def stop(self, name: str) -> None:
        """Kill one container and keep it, with its files and logs. No error when it is not there."""
        ...

    async def wait_exit(self, name: str) -> int | None:
        """Until the container is not running (at once if it is not now); its exit code, None when it does not exist."""
        ...

    async def remove(self, cluster_id: str, *, only: Collection[str] | None = None) -> None:
        """Remove a cluster's containers, anonymous volumes with them, by exact label; its networks and volumes, too.

        `only` these containers, by name, and nothing else of it. Returns when they are gone; raises NotRemoved when
        one is still there.
        """
        ...

    async def exec(self, name: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> ExecResult:
        """Run `argv` in a running container, to its end. Raises ContainerExited when the container is not running."""
        ...

    def open(self, name: str, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        """Run `argv` in a running container and talk to it."""
        ...

    async def logs(self, name: str, *, tail_lines: int = 200) -> str:
        """What a container printed, both streams, newest last."""
        ...

    async def read_file(self, name: str, path: str, *, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of a file in a container, running or not; b"" when there is none."""
        ...

    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        """Published port of the namespace's outer address → where it is on the host (the bound address)."""
        ...

    def events(self, cluster_id: str | None = None) -> AsyncIterator[EngineEvent]:
        """What happens from now on, to one cluster or to all of this instance; ends by DockerUnavailable."""
        ...

    async def info(self) -> EngineInfo: ...

    async def close(self) -> None: ...
