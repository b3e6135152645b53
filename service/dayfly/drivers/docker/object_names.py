"""Lists every object on an engine by name, whatever its labels: a check on the engine's label filters.

Not here: any removal. Objects are removed by exact label (resources.py).
"""

from __future__ import annotations

from dayfly.domain.cluster.naming import LABEL_INSTANCE
from dayfly.drivers.docker.client import DockerClient
from dayfly.drivers.docker.objects import name_of


class EngineNames:
    """`docker_host` as in DockerClient. All methods raise EngineUnavailable, EngineRefused."""

    def __init__(self, docker_host: str | None = None) -> None:
        self._client = DockerClient(docker_host)

    async def all_names(self) -> frozenset[str]:
        """`container NAME`, `volume NAME` and `network NAME` for each object on the engine."""
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

    async def volumes_in_use(self, instance: str) -> frozenset[str]:
        """The names of all volumes that containers of `instance` use, anonymous volumes included."""
        async with self._client.looking("listing the volumes in use") as docker:
            filters = {"label": [f"{LABEL_INSTANCE}={instance}"]}
            containers = await docker.containers.list(all=True, filters=filters)
        mounts = (mount for container in containers for mount in container["Mounts"] or ())
        return frozenset(str(mount["Name"]) for mount in mounts if mount.get("Type") == "volume" and mount.get("Name"))

    async def close(self) -> None:
        await self._client.close()
