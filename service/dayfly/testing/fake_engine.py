"""A ContainerEngine in memory: containers that start, run, exit and are adopted as on a real engine.

What tests tell it, and what it keeps, is in fake_host.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE, saved_volume, volume_owner
from dayfly.domain.cluster.qemu_cmdline import QMP_SOCKET
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.interfaces import (
    ByteStream,
    ContainerStatus,
    EngineEvent,
    EngineInfo,
    ExecResult,
    File,
)
from dayfly.errors import (
    ContainerExited,
    ContainerRemoved,
    EngineRefused,
    EngineUnavailable,
    ImageMissing,
    NotRemoved,
    PortsExhausted,
)
from dayfly.testing.fake_container import Command, FakeContainer, FakeObject, Watcher
from dayfly.testing.fake_host import KILLED, FakeHost
from dayfly.testing.fake_qmp import FakeQmpStream

__all__ = ["Command", "FakeContainer", "FakeEngine"]


class FakeEngine(FakeHost):
    """The calls of the protocol."""

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = (), *, again: bool = False) -> None:
        await self._enter("ensure")
        existing = self.containers.get(container.name)
        if existing is None and again:
            raise ContainerRemoved(f"{container.name} was removed, and not by Dayfly")
        if existing is None:
            if self.images is not None and container.image not in self.images:
                raise ImageMissing(f"container {container.name}: No such image: {container.image}")
            existing = self._create(container)
        for label in (LABEL_CLUSTER, LABEL_INSTANCE):
            if existing.spec.labels.get(label) != container.labels.get(label):
                raise EngineRefused(f"container {container.name} exists and does not belong to this installation")
        if existing.state in {"created", "exited"}:
            existing.files |= {file.path: file.content for file in files}
        if existing.state == "created":
            try:
                self._start(existing)
            except (EngineRefused, PortsExhausted):
                self._delete(existing)
                raise
        elif existing.state == "exited":
            self._start(existing)

    async def list_containers(self, cluster_id: str) -> tuple[ContainerStatus, ...]:
        await self._enter("list_containers")
        return tuple(_status(container) for container in self._of(cluster_id))

    async def list_resources(self) -> tuple[EngineResource, ...]:
        await self._enter("list_resources")
        return (
            *(
                EngineResource("container", found.id, name, found.spec.labels.get(LABEL_CLUSTER, ""), found.alive)
                for name, found in self.containers.items()
                if self._is_ours(found.spec.labels)
            ),
            *(
                EngineResource(
                    "volume", found.id, name, found.labels.get(LABEL_CLUSTER, ""), template_id=_template(found)
                )
                for name, found in self.volumes.items()
                if self._is_ours(found.labels)
            ),
            *self._unlabelled(),
            *(
                EngineResource("network", found.id, name, found.labels.get(LABEL_CLUSTER, ""))
                for name, found in self.networks.items()
                if self._is_ours(found.labels)
            ),
        )

    async def discard(self, resource: EngineResource) -> None:
        await self._enter("discard")
        if resource.kind == "container":
            container = self.containers.get(resource.name)
            if container is not None and container.id == resource.id:
                self._check(resource, container.spec.labels)
                self._remove(container)
            return
        things = self.volumes if resource.kind == "volume" else self.networks
        thing = things.get(resource.name)
        if thing is not None and thing.id == resource.id:
            self._check(resource, thing.labels)
            self._take_away(things, thing)

    async def stop(self, name: str) -> None:
        await self._enter("stop")
        if (container := self.containers.get(name)) is not None and container.alive:
            self._end(container, KILLED)

    async def wait_exit(self, name: str) -> int | None:
        await self._enter("wait_exit")
        if (container := self.containers.get(name)) is None:
            return None
        if container.alive:
            connection = self._connections
            await container.stopped.wait()
            if connection != self._connections:
                raise EngineUnavailable(f"waiting for {name}: the connection to the engine broke")
        return container.exit_code if container.exit_code is not None else 0

    async def remove(self, cluster_id: str, *, only: Collection[str] | None = None) -> None:
        await self._enter("remove")
        for container in sorted(self._of(cluster_id), key=lambda found: found.spec.role == "net"):
            if only is None or container.spec.name in only:
                self._remove(container)
        if only is None:
            for things in (self.networks, self.volumes):
                for thing in list(things.values()):
                    if self._is_ours(thing.labels) and thing.labels.get(LABEL_CLUSTER) == cluster_id:
                        self._take_away(things, thing)
            for resource in self._unlabelled():
                if resource.name == saved_volume(cluster_id):
                    self._take_away(self.volumes, self.volumes[resource.name])

    async def exec(
        self,
        name: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float,
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
        yield FakeQmpStream(lambda: container.vm_status, lambda: self._quit(container))

    async def logs(self, name: str, *, tail_lines: int = 200) -> str:
        await self._enter("logs")
        container = self.containers.get(name)
        lines = "".join(container.log).splitlines(keepends=True) if container else []
        return "".join(lines[-tail_lines:])

    async def read_file(self, name: str, path: str, *, tail_bytes: int) -> bytes:
        await self._enter("read_file")
        container = self.containers.get(name)
        return container.files.get(path, b"")[-tail_bytes:] if container else b""

    async def copy_out(self, name: str, path: str, folder: Path) -> None:
        await self._enter("copy_out")
        container = self.containers.get(name)
        if container is None or path not in container.files:
            raise ContainerRemoved(f"copying {path} out of {name}: the container or the file does not exist")
        (folder / Path(path).name).write_bytes(container.files[path])

    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        await self._enter("endpoints")
        return {
            port: Endpoint(container.spec.publication.address, host_port)
            for container in self._of(cluster_id)
            if container.alive
            for port, host_port in container.ports.items()
        }

    def events(self, cluster_id: str | None = None) -> AsyncIterator[EngineEvent]:
        self.calls["events"] += 1
        watcher = Watcher(cluster_id)
        self._watchers.add(watcher)
        return self._follow(watcher)

    async def info(self) -> EngineInfo:
        await self._enter("info")
        return self.host

    async def close(self) -> None:
        self.disconnect()

    # -- within

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get(LABEL_INSTANCE) == self.instance

    def _check(self, resource: EngineResource, labels: Mapping[str, str]) -> None:
        if not resource.labelled and not labels:
            return
        seen = (resource.cluster_id, resource.template_id)
        if not self._is_ours(labels) or (labels.get(LABEL_CLUSTER, ""), labels.get(LABEL_TEMPLATE, "")) != seen:
            raise EngineRefused(f"{resource.kind} {resource.name} has other labels since it was listed: it is kept")

    def _take_away(self, things: dict[str, FakeObject], thing: FakeObject) -> None:
        used = any(volume.name == thing.name for found in self.containers.values() for volume in found.spec.volumes)
        if thing.name in self.in_use or (used and things is self.volumes):
            raise EngineRefused(f"{thing.name} is in use")
        self._see_it_go(thing.name)
        del things[thing.name]
        self.removed.append(thing.name)

    def _remove(self, container: FakeContainer) -> None:
        self._see_it_go(container.spec.name)
        self._delete(container)

    def _see_it_go(self, name: str) -> None:
        if name in self.survivors:
            raise NotRemoved(f"{name} still exists after its removal")

    def _unlabelled(self) -> tuple[EngineResource, ...]:
        """As an earlier version left them on Podman."""
        if self.host.name != "Podman":
            return ()
        owned = [(name, volume_owner(name)) for name, found in self.volumes.items() if not found.labels]
        return tuple(
            EngineResource("volume", name, name, owner[0], template_id=owner[1], labelled=False)
            for name, owner in owned
            if owner is not None
        )

    def _running(self, name: str) -> FakeContainer:
        container = self.containers.get(name)
        if container is None or container.state != "running":
            raise ContainerExited(f"{name} is not running")
        return container

    def _quit(self, container: FakeContainer) -> None:
        if container.alive:
            self._end(container, 0)

    async def _follow(self, watcher: Watcher) -> AsyncIterator[EngineEvent]:
        await self._enter("follow")
        while (event := await watcher.inbox.get()) is not None:
            yield event
        raise EngineUnavailable("engine events: the stream ended")


def _template(volume: FakeObject) -> str:
    return volume.labels.get(LABEL_TEMPLATE, "")


def _status(container: FakeContainer) -> ContainerStatus:
    spec = container.spec
    return ContainerStatus(
        name=spec.name,
        cluster_id=spec.labels[LABEL_CLUSTER],
        role=spec.role,
        node=spec.node,
        state=container.state,
        exit_code=container.exit_code,
        image=spec.image,
        labels=spec.labels,
        started_at=container.started_at,
    )
