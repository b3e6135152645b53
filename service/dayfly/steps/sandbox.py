"""The step `sandbox`: the cluster's network namespace, with DHCP and DNS, which all other containers join."""

from __future__ import annotations

import asyncio

from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS, TimeLimits
from dayfly.steps.observe.exit_guard import is_running, require_running
from dayfly.steps.step import StepContext


class Sandbox:
    """Makes the net container run."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.sandbox

    async def check(self, context: StepContext) -> bool:
        return await is_running(context.drivers.engine, context.cluster.id, context.topology.net)

    async def apply(self, context: StepContext) -> None:
        await context.ensure(context.topology.net)
        await require_running(context.drivers.engine, context.cluster.id, context.topology.net)

    async def undo(self, context: StepContext) -> None:
        if context.was_ready:
            # Started again where it stands: its ports, what was saved, and the disks of machines that have joined it
            # must live on.
            return
        # All of it: whatever has joined a namespace cannot outlive it.
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await context.drivers.engine.remove(context.cluster.id)
