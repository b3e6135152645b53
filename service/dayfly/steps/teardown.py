"""Removes all objects of a cluster from the engine. Not a step of the plan: part of the deletion."""

from __future__ import annotations

import asyncio

from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import EngineUnavailable


async def remove_everything(engine: ContainerEngine, cluster_id: str) -> None:
    """Remove all of a cluster's objects and wait until they are gone.

    Raises EngineUnavailable, EngineRefused, NotRemoved.
    """
    try:
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await engine.remove(cluster_id)
    except TimeoutError as error:
        raise EngineUnavailable(f"the engine did not remove {cluster_id} in {TEARDOWN_SECONDS:.0f} s") from error
