"""A ContainerEngine over Docker's API (1.41 and newer). Not here: the creation of containers (container_start.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from dayfly.clock import Clock, SystemClock
from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_ROLE, saved_volume
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.docker import container_output, container_start, engine_info, resources
from dayfly.drivers.docker import events as docker_events
from dayfly.drivers.docker import exec as docker_exec
from dayfly.drivers.docker.client import LOOK_SECONDS, DockerClient
from dayfly.drivers.docker.errors import engine_errors, is_status
from dayfly.drivers.docker.image_files import unpack
from dayfly.drivers.docker.objects import (
    carries,
    delete_all,
    delete_networks_and_volumes,
    labels_of,
    look,
    name_of,
    or_none,
    still_there,
)
from dayfly.drivers.interfaces import ByteStream, ContainerStatus, EngineEvent, EngineInfo, ExecResult, File
from dayfly.errors import ContainerExited, ContainerRemoved

_GONE_POLL_SECONDS: Final = 0.1
_GONE_SECONDS: Final = 60.0
"""How long removed containers may stay visible: a busy disk is slow."""
_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104


class DockerEngine:
    """The containers of one installation (`instance`) on one Docker engine. `docker_host` as in DockerClient."""

    def __init__(self, docker_host: str | None = None, *, instance: str, clock: Clock | None = None) -> None:
        self._client = DockerClient(docker_host)
        self._instance = instance
        self._clock = clock or SystemClock()

    async def ensure(self, container: ContainerSpec, files: Sequence[File] = (), *, again: bool = False) -> None:
        async with self._client.changing(f"container {container.name}") as docker:
            await container_start.ensure(docker, container, files, again=again)

    async def list_containers(self, cluster_id: str) -> tuple[ContainerStatus, ...]:
        async with self._client.looking(f"listing the containers of {cluster_id}"), asyncio.TaskGroup() as group:
            looks = [group.create_task(look(found)) for found in await self._list(cluster_id)]
        return tuple(status for look in looks if (status := look.result()) is not None)

    async def list_resources(self) -> tuple[EngineResource, ...]:
        async with self._client.looking("listing the engine's resources") as docker:
            unlabelled = await self._client.is_podman()
            return await resources.list_resources(docker, self._instance, unlabelled=unlabelled)

    async def discard(self, resource: EngineResource) -> None:
        doing = f"removing {resource.kind} {resource.name}"
        async with self._client.changing(doing) as docker:
            await resources.discard(docker, self._instance, resource)

    async def stop(self, name: str) -> None:
        async with self._client.changing(f"stopping {name}") as docker:
            container = docker.containers.container(name)
            try:
                await container.kill()
                await container.wait()
            except DockerError as error:
                # 409: it is not running.
                if not is_status(error, 404, 409):
                    raise

    async def wait_exit(self, name: str) -> int | None:
        """Has no limit of its own. Raises EngineUnavailable when the connection breaks.

        A stopping engine ends all containers and reports their exits: such an exit must not count as a container's own.
        """
        with engine_errors(f"waiting for {name}"):
            ended = await or_none(self._client.get().containers.container(name).wait())
            if ended is not None:
                await self._client.ping()
        return None if ended is None else int(ended["StatusCode"])

    async def remove(self, cluster_id: str, *, only: Collection[str] | None = None) -> None:
        async with self._client.changing(f"removing {cluster_id}") as docker:
            await self._remove_containers(cluster_id, only)
            if only is None:
                # On Podman, earlier versions left volumes without a label.
                unlabelled = [saved_volume(cluster_id)] if await self._client.is_podman() else []
                await delete_networks_and_volumes(docker, self._labels(cluster_id), unlabelled)

    async def exec(self, name: str, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> ExecResult:
        return await docker_exec.run(self._client.get(), name, argv, stdin=stdin, timeout=timeout, clock=self._clock)

    def open(self, name: str, argv: Sequence[str]) -> AbstractAsyncContextManager[ByteStream]:
        return docker_exec.duplex(self._client.get(), name, argv, timeout=LOOK_SECONDS)

    async def logs(self, name: str, *, tail_lines: int = 200) -> str:
        """Empty when there is no such container."""
        async with self._client.looking(f"reading the log of {name}") as docker:
            return await or_none(container_output.log_end(docker, name, lines=tail_lines)) or ""

    async def read_file(self, name: str, path: str, *, tail_bytes: int) -> bytes:
        with engine_errors(f"reading {path} of {name}"):
            try:
                # `tail` first: the archive call sends the whole file.
                tail = ("tail", "-c", str(tail_bytes), path)
                ended = await self.exec(name, tail, timeout=LOOK_SECONDS)
                if ended.exit_code == 0:
                    return ended.stdout
            except ContainerExited:
                # Usual when evidence is collected: the file outlives its process.
                pass
            async with asyncio.timeout(LOOK_SECONDS):
                read = container_output.file_end(self._client.get(), name, path, tail_bytes=tail_bytes)
                return await or_none(read) or b""

    async def copy_out(self, name: str, path: str, folder: Path) -> None:
        doing = f"copying {path} out of {name}"
        with engine_errors(doing):
            try:
                await unpack(self._client.get(), name, path, folder, doing)
            except DockerError as error:
                if is_status(error, 404):
                    raise ContainerRemoved(f"{doing}: the container or the file does not exist") from error
                raise

    async def endpoints(self, cluster_id: str) -> Mapping[int, Endpoint]:
        async with self._client.looking(f"listing the ports of {cluster_id}"):
            found = await self._list(cluster_id, role="net")
        published: dict[int, Endpoint] = {}
        for container in found:
            # Podman lists the ports of stopped containers, too.
            if container["State"] not in {"running", "paused"}:
                continue
            for port in container["Ports"]:
                # An engine with IPv6 lists a wildcard binding twice; the first is IPv4's.
                if "PublicPort" in port:
                    address = port.get("IP", "")
                    bound = Endpoint("127.0.0.1" if address in _WILDCARDS else address, int(port["PublicPort"]))
                    published.setdefault(int(port["PrivatePort"]), bound)
        return published

    def events(self, cluster_id: str | None = None) -> AsyncIterator[EngineEvent]:
        """From the time of this call, not of the first iteration: a query in between misses no event."""
        return docker_events.follow(self._client.get(), self._labels(cluster_id), self._clock.now())

    async def info(self) -> EngineInfo:
        async with self._client.looking("reading the engine's version") as docker:
            return engine_info.engine_info(await docker.version(), await docker.system.info())

    async def all_names(self) -> frozenset[str]:
        """`container NAME`, `volume NAME`, `network NAME` for each object on the engine, whatever its labels.

        A check on the engine's label filters: objects are only ever removed by exact label.
        """
        async with self._client.looking("listing the engine's objects") as docker:
            containers = await docker.containers.list(all=True)
            volumes = (await docker.volumes.list())["Volumes"] or ()  # type: ignore[no-untyped-call]
            networks = await docker.networks.list()
        return frozenset(
            {
                *(f"container {name_of(container)}" for container in containers),
                *(f"volume {volume['Name']}" for volume in volumes),
                *(f"network {network['Name']}" for network in networks),
            }
        )

    async def volumes_in_use(self) -> frozenset[str]:
        """The names of all volumes that containers of this installation use, anonymous volumes included."""
        async with self._client.looking("listing the volumes in use") as docker:
            filters = {"label": [f"{LABEL_INSTANCE}={self._instance}"]}
            containers = await docker.containers.list(all=True, filters=filters)
        mounts = (mount for container in containers for mount in container["Mounts"] or ())
        return frozenset(str(mount["Name"]) for mount in mounts if mount.get("Type") == "volume" and mount.get("Name"))

    async def close(self) -> None:
        await self._client.close()

    async def _remove_containers(self, cluster_id: str, only: Collection[str] | None) -> None:
        began = self._clock.monotonic()
        while found := await self._list(cluster_id, only=only):
            if self._clock.monotonic() - began > _GONE_SECONDS:
                raise still_there(f"container {name_of(found[0])}")
            # The namespace's owner last: the containers that joined it would lose their network while they run.
            joined = [c for c in found if labels_of(c).get(LABEL_ROLE) != "net"]
            await delete_all(joined)
            await delete_all([c for c in found if c not in joined])
            if await self._list(cluster_id, only=only):
                await self._clock.sleep(_GONE_POLL_SECONDS)

    async def _list(
        self, cluster_id: str, *, role: str | None = None, only: Collection[str] | None = None
    ) -> list[DockerContainer]:
        labels = self._labels(cluster_id) | ({LABEL_ROLE: role} if role else {})
        filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
        found = await self._client.get().containers.list(all=True, filters=filters)
        ours = [container for container in found if carries(container, labels)]
        return ours if only is None else [container for container in ours if name_of(container) in only]

    def _labels(self, cluster_id: str | None) -> dict[str, str]:
        of_cluster = {LABEL_CLUSTER: cluster_id} if cluster_id is not None else {}
        return {**of_cluster, LABEL_INSTANCE: self._instance}
