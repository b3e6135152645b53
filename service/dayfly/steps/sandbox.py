"""The step `sandbox`: the cluster's network namespace, with DHCP and DNS, which all other containers join."""

from __future__ import annotations

import asyncio

from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS, TimeLimits
from dayfly.steps.observe.exit_guard import is_running, require_running
from dayfly.steps.step import Step, StepContext


class Sandbox(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.sandbox

    async def check(self, context: StepContext) -> bool:
        return await is_running(context.drivers.engine, context.cluster.id, context.topology.net)

    async def apply(self, context: StepContext) -> None:
        await context.ensure(context.topology.net)
        await require_running(context.drivers.engine, context.cluster.id, context.topology.net)

    async def undo(self, context: StepContext) -> None:
        if context.was_ready:
            # The next attempt starts the container again: its ports, snapshots and the machines' disks must be kept.
            return
        # Containers that joined the namespace cannot outlive it: remove all.
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await context.drivers.engine.remove(context.cluster.id)
