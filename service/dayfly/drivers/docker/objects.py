"""Docker's objects one by one: a container's state, an image's path, deletions that tolerate concurrent ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeVar, cast
from urllib.parse import quote

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.naming import (
    LABEL_CLUSTER,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_ROLE,
    LABEL_TEMPLATE,
    split_tag,
)
from dayfly.domain.cluster.topology import Role
from dayfly.drivers.docker.errors import is_status, logged
from dayfly.drivers.interfaces import ContainerStatus
from dayfly.errors import EngineRefused, ImageMissing, NotRemoved
from dayfly.vocabulary import IMAGE_REFERENCE

T = TypeVar("T")
State = Literal["created", "running", "paused", "exited"]

_COMMIT_SECONDS: Final = 1800.0
"""Node disks of some GiB take minutes."""

_STATES: Final[Mapping[str, State]] = {
    "created": "created",
    "running": "running",
    "restarting": "running",
    "paused": "paused",
    "exited": "exited",
    "removing": "exited",
    "dead": "exited",
    # Podman only: prepared and not started; the process is ending; the process ended and is not cleaned up.
    "initialized": "created",
    "stopping": "running",
    "stopped": "exited",
}


def image_in_path(reference: str) -> str:
    """`reference` as a part of a path of the engine's API. Raises ImageMissing for what is no reference of an image.

    The grammar refuses `..`, which would lead to another call; all that a path reserves is percent-encoded.
    """
    if not IMAGE_REFERENCE.fullmatch(reference):
        raise ImageMissing(f"{reference!r} is not the reference of an image")
    return quote(reference, safe="/:@")


async def look(container: DockerContainer) -> ContainerStatus | None:
    """The container's status; None when it was removed after the list."""
    shown = await or_none(container.show())
    if shown is None:
        return None
    labels, state = shown["Config"]["Labels"], state_of(shown)
    return ContainerStatus(
        name=shown["Name"].lstrip("/"),
        cluster_id=labels[LABEL_CLUSTER],
        role=cast("Role", labels[LABEL_ROLE]),
        node=labels.get(LABEL_NODE),
        state=state,
        exit_code=shown["State"]["ExitCode"] if state == "exited" else None,
        image=shown["Image"],
        labels=labels,
        started_at=_moment(shown["State"]["StartedAt"]),
    )


def state_of(shown: Mapping[str, Any]) -> State:
    """The state in an inspection of a container. Raises EngineRefused for an unknown state."""
    status = str(shown["State"]["Status"])
    try:
        return _STATES[status]
    except KeyError as error:
        name = str(shown["Name"]).lstrip("/")
        refused = EngineRefused(f"container {name} is in a state that Dayfly does not know", operator_detail=status)
        raise logged(refused) from error


def _moment(text: str) -> datetime | None:
    """None for the first day of year 1, which the engine writes before the event has happened."""
    return None if text.startswith("0001-") else datetime.fromisoformat(text)


def name_of(container: DockerContainer) -> str:
    """The name of a listed container, or its id."""
    # Its own name has one slash; names from links have two. A half-removed container has no name.
    names = [name[1:] for name in container["Names"] or () if name.count("/") == 1]
    return names[0] if names else str(container.id)


@uncancellable
async def create(docker: Docker, name: str, config: Mapping[str, Any], *, timeout: float) -> None:
    async with asyncio.timeout(timeout):
        await docker.containers.create(dict(config), name=name)


@uncancellable
async def commit(container: DockerContainer, reference: str, config: Mapping[str, Any]) -> str:
    """Create image `reference` from the container's files; its content id. All fields beside `config` are kept."""
    repository, tag = split_tag(reference)
    async with asyncio.timeout(_COMMIT_SECONDS):
        answer = await container.commit(repository=repository, tag=tag, config=dict(config), pause=False)
    return content_id(str(answer["Id"]))


def content_id(digest: str) -> str:
    """In Docker's form; Podman leaves out the digest's algorithm."""
    return digest if ":" in digest else f"sha256:{digest}"


async def delete_all(containers: Sequence[DockerContainer]) -> None:
    async with asyncio.TaskGroup() as group:
        for container in containers:
            group.create_task(delete(container))


async def delete(container: DockerContainer) -> None:
    """Kill the container, and remove it with its anonymous volumes."""
    # 409: another caller is removing it.
    await unless(container.delete(force=True, v=True), 404, 409)


async def delete_networks_and_volumes(docker: Docker, labels: Mapping[str, str], unlabelled: Sequence[str]) -> None:
    """Delete those with all `labels`, and the volumes with a name in `unlabelled` and no label of Dayfly's.

    Raises NotRemoved when one still exists afterwards.
    """
    filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
    for found in await docker.networks.list(filters=filters):
        if carries(found, labels):
            await delete_network(docker, found["Id"], found["Name"])
    for found in (await docker.volumes.list(filters=filters))["Volumes"] or ():  # type: ignore[no-untyped-call]
        if carries(found, labels):
            await delete_volume(docker, found["Name"])
    for name in unlabelled:
        shown = await or_none(DockerVolume(docker, name).show())  # type: ignore[no-untyped-call]
        if shown is not None and not has_our_labels(labels_of(shown)):
            await delete_volume(docker, name)


async def delete_volume(docker: Docker, name: str) -> None:
    """Raises NotRemoved when it still exists afterwards."""
    volume = DockerVolume(docker, name)  # type: ignore[no-untyped-call]
    await unless(volume.delete(), 404)  # type: ignore[no-untyped-call]
    if await or_none(volume.show()) is not None:  # type: ignore[no-untyped-call]
        raise still_there(f"volume {name}")


async def delete_network(docker: Docker, network_id: str, name: str) -> None:
    """Raises EngineRefused when a container uses it, NotRemoved when it still exists afterwards."""
    network = DockerNetwork(docker, network_id)  # type: ignore[no-untyped-call]
    # Podman would remove a network that a running container uses.
    if ((await or_none(network.show())) or {}).get("Containers"):
        raise EngineRefused(f"network {name} is in use by a container")
    await unless(network.delete(), 404)
    if await or_none(network.show()) is not None:
        raise still_there(f"network {name}")


def still_there(what: str) -> NotRemoved:
    return NotRemoved(f"{what} still exists after its removal: check what uses it, and the engine's own log")


async def or_none(call: Awaitable[T]) -> T | None:
    """The result of the engine's `call`; None when its object does not exist."""
    try:
        return await call
    except DockerError as error:
        if is_status(error, 404):
            return None
        raise


def labels_of(found: Mapping[str, Any] | DockerContainer) -> Mapping[str, str]:
    """The labels of a volume, a network or a listed container."""
    labels: Mapping[str, str] = found["Labels"] or {}
    return labels


def carries(found: Mapping[str, Any] | DockerContainer, labels: Mapping[str, str]) -> bool:
    """Whether `found` has all `labels`: the engine's filter alone is not trusted with a removal."""
    return labels.items() <= labels_of(found).items()


def has_our_labels(labels: Mapping[str, str]) -> bool:
    return any(name in labels for name in (LABEL_INSTANCE, LABEL_CLUSTER, LABEL_TEMPLATE))


async def unless(deletion: Awaitable[Any], *statuses: int) -> None:
    """Await `deletion`. The engine's answers `statuses` count as success."""
    try:
        await deletion
    except DockerError as error:
        if not is_status(error, *statuses):
            raise
