"""The step `registry`: starts the cluster's own registry, which no machine needs to boot."""

from __future__ import annotations

import asyncio

from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS, TimeLimits
from dayfly.steps.observe.exit_guard import is_running, require_running
from dayfly.steps.step import Step, StepContext


class Registry(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.sandbox

    async def check(self, context: StepContext) -> bool:
        return await is_running(context.drivers.engine, context.cluster.id, context.topology.registry)

    async def apply(self, context: StepContext) -> None:
        await context.ensure(context.topology.registry)
        await require_running(context.drivers.engine, context.cluster.id, context.topology.registry)

    async def undo(self, context: StepContext) -> None:
        if context.was_ready:
            # Pushed images must be kept.
            return
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await context.drivers.engine.remove(context.cluster.id, only={context.topology.registry.name})
