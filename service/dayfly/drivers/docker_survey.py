"""All that one installation has on the engine, found by its label alone, and removed one by one.

Here a mistake would cost somebody else's work: labels are compared once more in Python, and again before a removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume

from dayfly.domain.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE
from dayfly.drivers.docker_errors import is_status
from dayfly.drivers.docker_objects import delete, name_of, unless
from dayfly.drivers.protocols import Holding
from dayfly.errors import EngineRefused


async def survey(docker: Docker, instance: str) -> tuple[Holding, ...]:
    """Three calls, however many there are."""
    filters = {"label": [f"{LABEL_INSTANCE}={instance}"]}
    async with asyncio.TaskGroup() as group:
        containers = group.create_task(docker.containers.list(all=True, filters=filters))
        volumes = group.create_task(docker.volumes.list(filters=filters))  # type: ignore[no-untyped-call]
        networks = group.create_task(docker.networks.list(filters=filters))
    listed = (
        *map(_container, containers.result()),
        *map(_volume, volumes.result()["Volumes"] or ()),
        *map(_network, networks.result()),
    )
    return tuple(holding for holding, labels in listed if labels.get(LABEL_INSTANCE) == instance)


async def discard(docker: Docker, instance: str, holding: Holding) -> None:
    """Remove `holding`. Raises EngineRefused when it is in use, or not what survey() showed any more."""
    match holding.kind:
        case "container":
            container = docker.containers.container(holding.id)
            if (shown := await _shown(container.show())) is not None:
                _check(holding, instance, _labels(shown["Config"]))
                await delete(container)
        case "volume":
            volume = DockerVolume(docker, holding.id)  # type: ignore[no-untyped-call]
            if (shown := await _shown(volume.show())) is not None:  # type: ignore[no-untyped-call]
                _check(holding, instance, _labels(shown))
                await unless(volume.delete(), 404)  # type: ignore[no-untyped-call]
        case "network":
            network = DockerNetwork(docker, holding.id)  # type: ignore[no-untyped-call]
            if (shown := await _shown(network.show())) is not None:
                _check(holding, instance, _labels(shown))
                await unless(network.delete(), 404)


def _check(holding: Holding, instance: str, labels: Mapping[str, str]) -> None:
    if (labels.get(LABEL_INSTANCE), *_of(labels)) != (instance, holding.cluster_id, holding.template_id):
        raise EngineRefused(f"{holding.kind} {holding.name} is not what was seen: it is left alone")


async def _shown(look: Awaitable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """None when it is gone."""
    try:
        return await look
    except DockerError as error:
        if is_status(error, 404):
            return None
        raise


def _container(found: DockerContainer) -> tuple[Holding, Mapping[str, str]]:
    labels: Mapping[str, str] = found["Labels"] or {}
    running = found["State"] in {"running", "paused", "restarting"}
    cluster_id, template_id = _of(labels)
    return Holding("container", found.id, name_of(found), cluster_id, running, template_id), labels


def _volume(found: Mapping[str, Any]) -> tuple[Holding, Mapping[str, str]]:
    labels = _labels(found)
    cluster_id, template_id = _of(labels)
    return Holding("volume", found["Name"], found["Name"], cluster_id, template_id=template_id), labels


def _network(found: Mapping[str, Any]) -> tuple[Holding, Mapping[str, str]]:
    labels = _labels(found)
    cluster_id, template_id = _of(labels)
    return Holding("network", found["Id"], found["Name"], cluster_id, template_id=template_id), labels


def _of(labels: Mapping[str, str]) -> tuple[str, str]:
    """The cluster and the template that something belongs to, "" where it does to none."""
    return labels.get(LABEL_CLUSTER, ""), labels.get(LABEL_TEMPLATE, "")


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = found["Labels"] or {}
    return labels
