"""The seams to the outside world. The engine's steps know these, and no library behind them.

`ContainerEngine` speaks of a cluster's containers in CRI's sense, not of Docker: a Kubernetes engine can follow.
Every method raises errors of dayfly.errors only; DockerUnavailable where the engine does not answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from dayfly.domain.cluster import Endpoint
from dayfly.domain.topology import ContainerSpec, Role


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
class Holding:
    """Something on the engine that carries this installation's label: enough to tell whose it is, and to remove it.

    `id` is the engine's own. `cluster_id` is "" where that label is missing. `running` is only true of containers.
    """

    kind: Literal["container", "volume", "network"]
    id: str
    name: str
    cluster_id: str
    running: bool = False


@dataclass(frozen=True)
class EngineEvent:
    """Something the engine did, or saw, to a container: `start`, `die`, `destroy`, …"""

    at: datetime
    action: str
    container: str
    cluster_id: str
    exit_code: int | None = None


@dataclass(frozen=True)
class ImageInfo:
    """An image on the engine. `id` is its content id; size in bytes."""

    id: str
    references: tuple[str, ...]
    labels: Mapping[str, str]
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True)
class TransferProgress:
    """How a push or pull stands: of which layer, what, and how many bytes of how many (0: not known)."""

    layer: str
    status: str
    current_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True)
class EngineInfo:
    """The host that the engine runs on. Sizes in bytes; `root` is where it keeps its data."""

    version: str
    kernel: str
    cpus: int
    memory_bytes: int
    storage_driver: str
    cgroup_version: int
    cgroup_driver: str
    root: str
    ipv4_forwarding: bool


class ByteStream(Protocol):
    """A duplex stream to a command in a container."""

    async def read(self) -> bytes:
        """What came next on standard output; b"" at its end."""
        ...

    async def write(self, data: bytes) -> None: ...


class ContainerEngine(Protocol):
    """Where clusters' containers run."""

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = ()) -> None:
        """Make `container` exist and run; one of that name and cluster is adopted (started when it is not running).

        Its host ports are chosen when it is made and stay its own: started again, it is published where it was.
        `files` are written before its first start. Raises ImageMissing, PortsExhausted, DiskFull, EngineRefused.
        """
        ...

    async def observe(self, cluster_id: str) -> tuple[ContainerStatus, ...]:
        """All containers of a cluster, by exact label."""
        ...

    async def survey(self) -> tuple[Holding, ...]:
        """All that this installation has on the engine, by exact label, in one cheap look whatever their number."""
        ...

    async def discard(self, holding: Holding) -> None:
        """Remove one thing that survey() showed, a container with its anonymous volumes. No error when it is gone."""
        ...

    async def stop(self, name: str) -> None:
        """Kill one container and keep it, with its files and logs. No error when it is not there."""
        ...

    async def wait_exit(self, name: str) -> int | None:
        """Until the container is not running (at once if it is not now); its exit code, None when it does not exist."""
        ...

    async def remove(self, cluster_id: str, *, node: str | None = None) -> None:
        """Remove a cluster's containers (only that of `node`, if given), anonymous volumes with them, by exact label.

        Returns when they are gone.
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


class ImageStore(Protocol):
    """The images on the engine."""

    async def inspect(self, reference: str) -> ImageInfo:
        """By reference or id. Raises ImageMissing."""
        ...

    async def list(self, *, label: str) -> tuple[ImageInfo, ...]:
        """All that carry `label`."""
        ...

    def push(self, reference: str) -> AsyncIterator[TransferProgress]: ...

    def pull(self, reference: str) -> AsyncIterator[TransferProgress]: ...

    async def tag(self, image: str, reference: str) -> None: ...

    async def remove(self, reference: str) -> None:
        """Untag, and delete what no tag holds any more. No error when it is not there."""
        ...

    async def run(
        self, image: str, argv: Sequence[str], *, devices: Sequence[str] = (), timeout: float
    ) -> ExecResult | None:
        """Run `argv` once in a container without privileges or network, and remove it; None when `timeout` passed."""
        ...


class ImageBuilder(Protocol):
    """What a bake needs of the engine beside ImageStore. No intermediate image or container is left behind.

    Both raise BakeFailed (with the engine's output as evidence), DiskFull or DockerUnavailable, and stream:
    memory stays small.
    """

    async def import_rootfs(self, tar: Path, reference: str, *, changes: Sequence[str] = ()) -> str:
        """Make an image of one layer from the root file system in `tar` (plain, gzip, bzip2, xz); its content id.

        `changes` are Dockerfile instructions (`CMD`, `ENTRYPOINT`, `ENV`, `LABEL`, …).
        """
        ...

    async def build(self, context: Path, reference: str, *, labels: Mapping[str, str]) -> str:
        """Build the Dockerfile in the folder (or tar file) `context`; the content id of the result."""
        ...


@dataclass(frozen=True)
class SshTarget:
    """One node's SSH: where, with which key, and which host key it must show. Keys in OpenSSH's text form."""

    host: str
    port: int
    private_key: str = field(repr=False)
    host_public_key: str
    username: str = "root"


@dataclass(frozen=True)
class CommandResult:
    """How a command on a node ended. Text is UTF-8, undecodable bytes replaced."""

    exit_code: int
    stdout: str
    stderr: str


class Ssh(Protocol):
    """Commands and files on nodes. One connection a target is kept and shared; a broken one is made again."""

    async def wait(self, target: SshTarget, *, timeout: float) -> None:
        """Until the node answers and has let us in. Raises SshTimeout or SshRefused."""
        ...

    async def run(
        self,
        target: SshTarget,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Run `command` in the node's shell, to its end, whatever its exit code. Raises SshTimeout.

        `on_line` sees each line of stdout and stderr as it comes.
        """
        ...

    async def put(self, target: SshTarget, files: Sequence[File], *, timeout: float) -> None:
        """Write all `files`, making folders (mode 0755) where they are missing. Raises SshTimeout, CommandFailed."""
        ...

    async def forget(self, target: SshTarget) -> None:
        """Close the kept connection."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class KubeAccess:
    """How to reach a cluster's API server as an administrator. PEM texts; `server_name` is a SAN of its certificate."""

    endpoint: Endpoint
    ca: str
    certificate: str
    key: str = field(repr=False)
    server_name: str


@dataclass(frozen=True)
class KubeNode:
    """A Kubernetes node: Ready or not, and what it says about it."""

    name: str
    ready: bool
    reason: str = ""
    boot_id: str = ""
    """Of the boot in which its kubelet last reported: a Ready of an earlier boot says nothing."""


@dataclass(frozen=True)
class KubePod:
    """A pod: phase as Kubernetes calls it, where it runs, and why it does not."""

    name: str
    namespace: str
    phase: str
    node: str | None
    reason: str = ""


class KubeApi(Protocol):
    """The few calls that steps make to a cluster's API server."""

    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:
        """One look: does /healthz say ok? False when it cannot be reached."""
        ...

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        """All nodes, one look. Raises NodeNotReady when the API server does not answer."""
        ...

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        """All pods, one look. Raises NodeNotReady when the API server does not answer."""
        ...

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        boot_ids: Mapping[str, str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        """Watch until every node that is a key of `boot_ids` is Ready in that very boot.

        Raises NodeNotReady with what each node said last.
        """
        ...

    async def wait_service_account(self, access: KubeAccess, *, timeout: float) -> None:
        """Watch until `default/default` exists (the controller manager works). Raises NotUsable."""
        ...

    async def run_pod(
        self,
        access: KubeAccess,
        name: str,
        *,
        image: str,
        argv: Sequence[str],
        timeout: float,
        on_change: Callable[[KubePod], None] | None = None,
    ) -> None:
        """Run a pod to its successful end and delete it; one of that name is adopted.

        Raises NotUsable with its last state.
        """
        ...


@dataclass(frozen=True)
class Pressure:
    """How hard processes contend for the host's CPUs: in percent, by `source` (`psi` or `load`)."""

    percent: float
    source: Literal["psi", "load"]


class PressureGauge(Protocol):
    """The host's pressure, as the kernel tells it."""

    def read(self) -> Pressure: ...


@dataclass(frozen=True)
class Drivers:
    """What steps are given."""

    engine: ContainerEngine
    ssh: Ssh
    kube: KubeApi
