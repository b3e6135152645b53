"""Docker's objects one by one: how a container looks, and how things are deleted whoever else is deleting them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, cast

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume

from dayfly.domain.naming import LABEL_CLUSTER, LABEL_NODE, LABEL_ROLE
from dayfly.domain.topology import Role
from dayfly.drivers.docker_errors import is_status
from dayfly.drivers.protocols import ContainerStatus

_STATES: Final[Mapping[str, Literal["created", "running", "paused", "exited"]]] = {
    "created": "created",
    "running": "running",
    "restarting": "running",
    "paused": "paused",
    "exited": "exited",
    "removing": "exited",
    "dead": "exited",
}


async def look(container: DockerContainer) -> ContainerStatus | None:
    """None when it went away between the list and this look."""
    try:
        shown: dict[str, Any] = await container.show()
    except DockerError as error:
        if is_status(error, 404):
            return None
        raise
    labels, state = shown["Config"]["Labels"], _STATES[shown["State"]["Status"]]
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


def _moment(text: str) -> datetime | None:
    """The engine writes the first day of the first year for what has not happened yet."""
    return None if text.startswith("0001-") else datetime.fromisoformat(text)


def label_of(container: DockerContainer, name: str) -> str | None:
    labels: Mapping[str, str] = container["Labels"] or {}
    return labels.get(name)


def name_of(container: DockerContainer) -> str:
    """Of a container as a list shows it."""
    # Its own name has one slash; those that links gave it have two. One that is half removed has none.
    names = [name[1:] for name in container["Names"] or () if name.count("/") == 1]
    return names[0] if names else str(container.id)


async def delete_all(containers: Sequence[DockerContainer]) -> None:
    async with asyncio.TaskGroup() as group:
        for container in containers:
            group.create_task(delete(container))


async def delete(container: DockerContainer) -> None:
    """With its anonymous volumes; killed when it runs."""
    # 409: somebody else is removing it right now.
    await unless(container.delete(force=True, v=True), 404, 409)


async def delete_networks_and_volumes(docker: Docker, labels: Sequence[str]) -> None:
    """Those that carry all `labels` (each `key=value`)."""
    filters = {"label": list(labels)}
    for found in await docker.networks.list(filters=filters):
        await unless(DockerNetwork(docker, found["Id"]).delete(), 404)  # type: ignore[no-untyped-call]
    for found in (await docker.volumes.list(filters=filters))["Volumes"] or ():  # type: ignore[no-untyped-call]
        await unless(DockerVolume(docker, found["Name"]).delete(), 404)  # type: ignore[no-untyped-call]


async def unless(deletion: Awaitable[Any], *statuses: int) -> None:
    """`deletion`, with the engine's answers `statuses` taken for success."""
    try:
        await deletion
    except DockerError as error:
        if not is_status(error, *statuses):
            raise
