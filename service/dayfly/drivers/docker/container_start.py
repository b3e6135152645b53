"""Creates a container, or adopts the existing one, and starts it: with its files, at host ports that do not change."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE
from dayfly.domain.cluster.topology import ContainerSpec, Volume
from dayfly.drivers.docker import host_ports as docker_ports
from dayfly.drivers.docker.client import CHANGE_SECONDS
from dayfly.drivers.docker.container_config import container_config
from dayfly.drivers.docker.errors import is_name_taken, is_port_taken, is_status, logged
from dayfly.drivers.docker.objects import State, delete, has_our_labels, labels_of, or_none, state_of
from dayfly.drivers.interfaces import File
from dayfly.drivers.tar import archive
from dayfly.errors import ContainerRemoved, EngineRefused, PortsExhausted

_PORT_TRIES: Final = 50


@dataclass(frozen=True)
class _Found:
    """An existing container, its state and its host ports."""

    handle: DockerContainer
    state: State
    host_ports: frozenset[int]


async def ensure(docker: Docker, container: ContainerSpec, files: Sequence[File], *, again: bool) -> None:
    """Create or adopt `container`, write `files`, and start it. `again`: only start, never create."""
    avoid: frozenset[int] = frozenset()
    for _ in range(_PORT_TRIES):
        found = await (_adopt(docker, container) if again else _make_or_adopt(docker, container, avoid))
        if found.state == "exited":
            return await _start_again(found, container.name, files, again=again)
        if found.state != "created":
            return None
        try:
            # An adopted container, too: its creator may have died before it wrote the files.
            return await _start_first(found.handle, files)
        except DockerError as error:
            if not (found.host_ports and is_port_taken(error)):
                raise
            # Taken since the choice, or by a process that is not visible from here.
            avoid |= docker_ports.named_in(error.message, found.host_ports)
    raise PortsExhausted(f"container {container.name}: the chosen host ports were taken in {_PORT_TRIES} attempts")


async def _make_or_adopt(docker: Docker, container: ContainerSpec, avoid: frozenset[int]) -> _Found:
    # Inspected first only where ports would have to be chosen: the engine's 409 reports an existing container, too.
    if container.ports and (existing := await _existing(docker, container)) is not None:
        return existing
    host_ports = await docker_ports.choose(docker, container, avoid)
    try:
        created = await _create(docker, container, host_ports)
        return _Found(created, "created", frozenset(host_ports.values()))
    except DockerError as error:
        if not is_name_taken(error):
            raise
    existing = await _existing(docker, container)
    if existing is None:
        raise EngineRefused(f"container {container.name} existed and was removed meanwhile")
    return existing


async def _adopt(docker: Docker, container: ContainerSpec) -> _Found:
    if (existing := await _existing(docker, container)) is None:
        raise _removed(container.name)
    return existing


def _removed(name: str) -> ContainerRemoved:
    return ContainerRemoved(f"{name} was removed, and not by Dayfly")


async def _existing(docker: Docker, container: ContainerSpec) -> _Found | None:
    shown = await or_none(docker.containers.container(container.name).show())
    if shown is None:
        return None
    labels = shown["Config"]["Labels"] or {}
    for label in (LABEL_CLUSTER, LABEL_INSTANCE):
        if labels.get(label) != container.labels.get(label):
            raise EngineRefused(f"container {container.name} exists and does not belong to this installation")
    handle = docker.containers.container(shown["Id"])
    return _Found(handle, state_of(shown), docker_ports.ports_of(labels))


@uncancellable
async def _create(docker: Docker, container: ContainerSpec, host_ports: Mapping[int, int]) -> DockerContainer:
    """Uncancellable: a deletion that follows must see the container that the engine is creating."""
    async with asyncio.timeout(CHANGE_SECONDS):
        for volume in container.volumes:
            await _make_volume(docker, volume)
        return await docker.containers.create(container_config(container, host_ports), name=container.name)


async def _make_volume(docker: Docker, volume: Volume) -> None:
    """Called before the container's creation: Podman ignores the labels of a volume that a mount creates."""
    config = {"Name": volume.name, "Labels": dict(volume.labels)}
    # The engine returns an existing volume of that name.
    found = await docker.volumes.create(config)  # type: ignore[no-untyped-call]
    labels = labels_of(await found.show())
    # A volume without any label of Dayfly's is from an earlier version on Podman.
    if has_our_labels(labels) and not volume.labels.items() <= labels.items():
        raise EngineRefused(f"volume {volume.name} exists and does not belong to this installation")


async def _start_first(container: DockerContainer, files: Sequence[File]) -> None:
    try:
        if files:
            await container.put_archive("/", io.BytesIO(archive(files)))  # type: ignore[no-untyped-call]
        await container.start()
    except DockerError:
        # It never ran, so it has no evidence to keep, and it would block a retry.
        await delete(container)
        raise


async def _start_again(found: _Found, name: str, files: Sequence[File], *, again: bool) -> None:
    """Start a container that holds a cluster's state. On failure the container is kept, with its ports."""
    try:
        if files:
            await found.handle.put_archive("/", io.BytesIO(archive(files)))  # type: ignore[no-untyped-call]
        await found.handle.start()
    except DockerError as error:
        if again and is_status(error, 404):
            raise _removed(name) from error
        if not (found.host_ports and is_port_taken(error)):
            raise
        taken = ", ".join(map(str, sorted(docker_ports.named_in(error.message, found.host_ports))))
        message = f"container {name} cannot start again: its host port {taken} is taken"
        raise logged(PortsExhausted(message, operator_detail=error.message)) from error
