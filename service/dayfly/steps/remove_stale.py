"""The step `remove_stale`: removes containers of an earlier generation, so that machines come from their new source.

The network's container stays, because callers know its ports; checkpoints stay, too.
"""

from __future__ import annotations

import asyncio
from typing import Final

from dayfly.domain.cluster.naming import LABEL_GENERATION
from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS, TimeLimits
from dayfly.steps.step import Step, StepContext

_KEPT_ROLE: Final = "net"


class RemoveStale(Step):
    def limit(self, limits: TimeLimits) -> float:  # noqa: ARG002 - the engine's work, not the guests'
        return TEARDOWN_SECONDS

    async def check(self, context: StepContext) -> bool:
        return not await self._old(context)

    async def apply(self, context: StepContext) -> None:
        old = await self._old(context)
        await context.drivers.engine.remove(context.cluster.id, only=old)
        context.progress(f"{len(old)} containers of an earlier generation are removed")

    async def _old(self, context: StepContext) -> frozenset[str]:
        now = str(context.cluster.generation)
        async with asyncio.timeout(TEARDOWN_SECONDS):
            seen = await context.drivers.engine.list_containers(context.cluster.id)
        return frozenset(
            status.name for status in seen if status.role != _KEPT_ROLE and status.labels.get(LABEL_GENERATION) != now
        )
