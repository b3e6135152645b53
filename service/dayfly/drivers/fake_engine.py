"""A ContainerEngine in memory: containers that start, run, exit and are adopted as on a real engine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from dayfly.clock import SystemClock
from dayfly.domain.cluster import Endpoint
from dayfly.domain.naming import LABEL_CLUSTER, LABEL_INSTANCE
from dayfly.domain.qemu import QMP_SOCKET
from dayfly.domain.topology import ContainerSpec, Role
from dayfly.drivers.fake_faults import Faults
from dayfly.drivers.fake_qmp import FakeQmpStream
from dayfly.drivers.protocols import ByteStream, ContainerStatus, EngineEvent, EngineInfo, ExecResult, File
from dayfly.errors import ContainerExited, DockerUnavailable, EngineRefused, ImageMissing, PortsExhausted

Command = Callable[["FakeContainer", Sequence[str], bytes], Awaitable[ExecResult] | ExecResult]
_KILLED: Final = 137


@dataclass
class FakeContainer:
    """One container; tests may look and change what they like."""

    spec: ContainerSpec
    state: Literal["created", "running", "paused", "exited"] = "created"
    exit_code: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    vm_status: str = "running"
    """What QMP's query-status says."""
    starts: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


class FakeEngine(Faults):
    """`images` are those it has; None: every image."""

    def __init__(self, *, instance: str = "default", images: set[str] | None = None) -> None:
        super().__init__()
        self.instance = instance
        self.images = images
        self.containers: dict[str, FakeContainer] = {}
        self.created: list[str] = []
        """The names of all containers ever created, in order."""
        self.removed: list[str] = []
        self.taken_ports: set[int] = set()
        """Host ports that somebody else has."""
        self._exits: dict[str, tuple[int, str]] = {}
        self._command: Command = lambda container, argv, stdin: ExecResult(0, b"", b"")  # noqa: ARG005
        self._any_port = itertools.count(40000)
        self._watchers: list[asyncio.Queue[EngineEvent | None]] = []

    # -- what tests tell it

    def exits_at_start(self, name_or_role: str, exit_code: int = 1, log: str = "") -> None:
        """Containers of that name, node or role end as soon as they start."""
        self._exits[name_or_role] = (exit_code, log)

    def stays_up(self, name_or_role: str) -> None:
        """Take back `exits_at_start`."""
        self._exits.pop(name_or_role, None)

    def exit(self, name: str, exit_code: int = 1, log: str = "") -> None:
        """A running container ends by itself, now."""
        container = self.containers[name]
        if log:
            container.log.append(log)
        self._end(container, exit_code)

    def on_exec(self, command: Command) -> None:
        """What `exec` does from now on (until then: nothing, successfully)."""
        self._command = command

    def disconnect(self) -> None:
        """Every event stream ends."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    # -- ContainerEngine

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = ()) -> None:
        await self._enter("ensure")
        if self.images is not None and container.image not in self.images:
            raise ImageMissing(f"container {container.name}: No such image: {container.image}")
        existing = self.containers.get(container.name)
        if existing is None:
            existing = self.containers[container.name] = FakeContainer(container)
            self.created.append(container.name)
            self._tell(existing, "create")
        for label in (LABEL_CLUSTER, LABEL_INSTANCE):
            if existing.spec.labels.get(label) != container.labels.get(label):
                raise EngineRefused(f"container {container.name} exists and belongs to somebody else")
        if existing.state == "created":
            existing.files |= {file.path: file.content for file in files}
            try:
                self._start(existing)
            except (EngineRefused, PortsExhausted):
                self._delete(existing)
                raise
        elif existing.state == "exited":
            self._start(existing)

    async def observe(self, cluster_id: str) -> tuple[ContainerStatus, ...]:
        await self._enter("observe")
        return tuple(_status(container) for container in self._of(cluster_id))

    async def stop(self, name: str) -> None:
        await self._enter("stop")
        if (container := self.containers.get(name)) is not None and container.state in {"running", "paused"}:
            self._end(container, _KILLED)

    async def wait_exit(self, name: str) -> int | None:
        await self._enter("wait_exit")
        if (container := self.containers.get(name)) is None:
            return None
        if container.state in {"running", "paused"}:
            await container.stopped.wait()
        return container.exit_code if container.exit_code is not None else 0

    async def remove(self, cluster_id: str, *, node: str | None = None) -> None:
        await self._enter("remove")
        for container in sorted(self._of(cluster_id), key=lambda found: found.spec.role == "net"):
            if node is None or container.spec.node == node:
                self._delete(container)

    async def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float,  # noqa: ARG002
    ) -> ExecResult:
        await self._enter("exec")
        result = self._command(self._running(name), argv, stdin)
        return result if isinstance(result, ExecResult) else await result

    @asynccontextmanager
    async def open(self, name: str, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        await self._enter("open")
        container = self._running(name)
        if not any(QMP_SOCKET in argument for argument in argv):
            raise EngineRefused(f"this engine knows no stream of {argv}")
        yield FakeQmpStream(lambda: container.vm_status, lambda: self._end(container, 0))

    async def logs(self, name: str, *, tail_lines: int = 200) -> str:
        await self._enter("logs")
        container = self.containers.get(name)
        lines = "".join(container.log).splitlines(keepends=True) if container else []
        return "".join(lines[-tail_lines:])

    async def read_file(self, name: str, path: str, *, tail_bytes: int) -> bytes:
        await self._enter("read_file")
        container = self.containers.get(name)
        return container.files.get(path, b"")[-tail_bytes:] if container else b""

    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        await self._enter("endpoints")
        return {
            port: Endpoint(container.spec.publication.address, host_port)
            for container in self._of(cluster_id)
            for port, host_port in container.ports.items()
        }

    def events(self, cluster_id: str | None = None) -> AsyncIterator[EngineEvent]:
        self.calls["events"] += 1
        inbox: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
        self._watchers.append(inbox)
        return self._follow(inbox, cluster_id)

    async def info(self) -> EngineInfo:
        await self._enter("info")
        return EngineInfo("20.10.0", "6.1.0", 4, 16 << 30, "overlay2", 2, "systemd", "/var/lib/docker", True)

    async def close(self) -> None:
        self.disconnect()

    # -- within

    def _of(self, cluster_id: str) -> list[FakeContainer]:
        own = {LABEL_CLUSTER: cluster_id, LABEL_INSTANCE: self.instance}
        return [found for found in self.containers.values() if own.items() <= found.spec.labels.items()]

    def _running(self, name: str) -> FakeContainer:
        container = self.containers.get(name)
        if container is None or container.state != "running":
            raise ContainerExited(f"{name} is not running")
        return container

    def _start(self, container: FakeContainer) -> None:
        joins = container.spec.joins
        if joins is not None and (joins not in self.containers or self.containers[joins].state != "running"):
            raise EngineRefused(f"cannot join network of a non running container: {joins}")
        container.ports = {}
        for port in container.spec.ports:
            container.ports[port] = self._host_port(container.spec)
        container.state, container.exit_code = "running", None
        container.starts += 1
        container.stopped = asyncio.Event()
        self._tell(container, "start")
        for key in (container.spec.name, container.spec.node, container.spec.role):
            if key in self._exits:
                exit_code, log = self._exits[key]
                container.log.append(log)
                self._end(container, exit_code)
                return

    def _host_port(self, spec: ContainerSpec) -> int:
        used = self.taken_ports | {port for other in self.containers.values() for port in other.ports.values()}
        first, _, last = (spec.publication.port_range or "").partition("-")
        choice = range(int(first), int(last) + 1) if first else self._any_port
        for port in choice:
            if port not in used:
                return port
        raise PortsExhausted(f"container {spec.name}: all ports are allocated")

    def _end(self, container: FakeContainer, exit_code: int) -> None:
        container.state, container.exit_code, container.ports = "exited", exit_code, {}
        container.stopped.set()
        self._tell(container, "die")

    def _delete(self, container: FakeContainer) -> None:
        if container.state in {"running", "paused"}:
            self._end(container, _KILLED)
        del self.containers[container.spec.name]
        self.removed.append(container.spec.name)
        self._tell(container, "destroy")

    def _tell(self, container: FakeContainer, action: str) -> None:
        exit_code = container.exit_code if action == "die" else None
        labels = container.spec.labels
        event = EngineEvent(SystemClock().now(), action, container.spec.name, labels.get(LABEL_CLUSTER, ""), exit_code)
        if labels.get(LABEL_INSTANCE) == self.instance:
            for watcher in self._watchers:
                watcher.put_nowait(event)

    async def _follow(
        self, inbox: asyncio.Queue[EngineEvent | None], cluster_id: str | None
    ) -> AsyncIterator[EngineEvent]:
        try:
            await self._enter("follow")
            while (event := await inbox.get()) is not None:
                if cluster_id in {None, event.cluster_id}:
                    yield event
            raise DockerUnavailable("engine events: the stream ended")
        finally:
            self._watchers.remove(inbox)


def _status(container: FakeContainer) -> ContainerStatus:
    spec = container.spec
    role: Role = spec.role
    return ContainerStatus(
        name=spec.name,
        cluster_id=spec.labels[LABEL_CLUSTER],
        role=role,
        node=spec.node,
        state=container.state,
        exit_code=container.exit_code,
        image=spec.image,
        labels=spec.labels,
    )
