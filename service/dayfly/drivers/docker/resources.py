"""Lists and removes everything on the engine that carries this installation's label.

A mistake here would destroy other people's work: labels are compared again in Python, and once more before a removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE, volume_owner
from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.docker.objects import (
    delete,
    delete_network,
    delete_volume,
    has_our_labels,
    labels_of,
    name_of,
    or_none,
    still_there,
)
from dayfly.errors import EngineRefused

_GONE_LOOKS: Final = 50
_GONE_POLL_SECONDS: Final = 0.1


async def list_resources(docker: Docker, instance: str, *, unlabelled: bool) -> tuple[EngineResource, ...]:
    """All resources of `instance`, in three calls.

    `unlabelled`: also volumes without a label but with a name of Dayfly's, for an engine that loses labels.
    """
    filters = {"label": [f"{LABEL_INSTANCE}={instance}"]}
    async with asyncio.TaskGroup() as group:
        containers = group.create_task(docker.containers.list(all=True, filters=filters))
        volumes = group.create_task(docker.volumes.list(filters=None if unlabelled else filters))  # type: ignore[no-untyped-call]
        networks = group.create_task(docker.networks.list(filters=filters))
    listed = (
        *map(_container, containers.result()),
        *map(_volume, volumes.result()["Volumes"] or ()),
        *map(_network, networks.result()),
    )
    return tuple(
        resource for resource, labels in listed if not resource.labelled or labels.get(LABEL_INSTANCE) == instance
    )


async def discard(docker: Docker, instance: str, resource: EngineResource) -> None:
    """Remove `resource`, and verify the removal. Raises EngineRefused, NotRemoved."""
    match resource.kind:
        case "container":
            container = docker.containers.container(resource.id)
            if (shown := await or_none(container.show())) is not None:
                _check(resource, instance, labels_of(shown["Config"]))
                await delete(container)
                await _until_gone(container, resource.name)
        case "volume":
            volume = DockerVolume(docker, resource.id)  # type: ignore[no-untyped-call]
            if (shown := await or_none(volume.show())) is not None:  # type: ignore[no-untyped-call]
                _check(resource, instance, labels_of(shown))
                await delete_volume(docker, resource.id)
        case "network":
            network = DockerNetwork(docker, resource.id)  # type: ignore[no-untyped-call]
            if (shown := await or_none(network.show())) is not None:
                _check(resource, instance, labels_of(shown))
                await delete_network(docker, resource.id, resource.name)


async def _until_gone(container: DockerContainer, name: str) -> None:
    """A container that another caller removes at the same time stays visible for a while."""
    for _ in range(_GONE_LOOKS):
        if await or_none(container.show()) is None:
            return
        await asyncio.sleep(_GONE_POLL_SECONDS)
    raise still_there(f"container {name}")


def _check(resource: EngineResource, instance: str, labels: Mapping[str, str]) -> None:
    if not resource.labelled:
        if has_our_labels(labels):
            raise EngineRefused(f"{resource.kind} {resource.name} has new labels since it was listed: it is kept")
        return
    if (labels.get(LABEL_INSTANCE), *_of(labels)) != (instance, resource.cluster_id, resource.template_id):
        raise EngineRefused(f"{resource.kind} {resource.name} has other labels since it was listed: it is kept")


def _container(found: DockerContainer) -> tuple[EngineResource, Mapping[str, str]]:
    labels = labels_of(found)
    running = found["State"] in {"running", "paused", "restarting"}
    cluster_id, template_id = _of(labels)
    return EngineResource("container", found.id, name_of(found), cluster_id, running, template_id), labels


def _volume(found: Mapping[str, Any]) -> tuple[EngineResource, Mapping[str, str]]:
    name, labels = found["Name"], labels_of(found)
    owner = None if has_our_labels(labels) else volume_owner(name)
    cluster_id, template_id = owner or _of(labels)
    return EngineResource("volume", name, name, cluster_id, template_id=template_id, labelled=owner is None), labels


def _network(found: Mapping[str, Any]) -> tuple[EngineResource, Mapping[str, str]]:
    labels = labels_of(found)
    cluster_id, template_id = _of(labels)
    return EngineResource("network", found["Id"], found["Name"], cluster_id, template_id=template_id), labels


def _of(labels: Mapping[str, str]) -> tuple[str, str]:
    """The ids of the cluster and of the template, "" where there is none."""
    return labels.get(LABEL_CLUSTER, ""), labels.get(LABEL_TEMPLATE, "")
