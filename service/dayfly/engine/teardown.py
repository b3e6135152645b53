"""The end of a cluster: everything that an engine holds of it, gone. Not a step of the plan: it is what deletion is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from dayfly.domain.limits import TEARDOWN_SECONDS
from dayfly.domain.topology import Topology
from dayfly.drivers.protocols import ContainerEngine
from dayfly.engine.alive import container_evidence
from dayfly.errors import DockerUnavailable

_EVIDENCE_SECONDS: Final = 30.0


async def remove_everything(engine: ContainerEngine, cluster_id: str) -> None:
    """Remove all of a cluster's objects and wait until they are gone. Raises DockerUnavailable, EngineRefused."""
    try:
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await engine.remove(cluster_id)
    except TimeoutError as error:
        raise DockerUnavailable(f"the engine did not remove {cluster_id} in {TEARDOWN_SECONDS:.0f} s") from error


async def collect_evidence(engine: ContainerEngine, topology: Topology) -> Mapping[str, str]:
    """What every container leaves to read, as `<part>/<log|console>` → text, before anything is torn down.

    Never raises: what cannot be had is named instead.
    """
    containers = (topology.net, topology.registry, *topology.nodes)
    try:
        async with asyncio.timeout(_EVIDENCE_SECONDS), asyncio.TaskGroup() as group:
            tasks = {c.node or c.role: group.create_task(container_evidence(engine, c)) for c in containers}
    except TimeoutError:
        return {"missing": f"the engine gave no evidence in {_EVIDENCE_SECONDS:.0f} s"}
    return {f"{part}/{name}": text for part, task in tasks.items() for name, text in task.result().items()}
