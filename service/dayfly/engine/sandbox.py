"""The step `sandbox`: the cluster's network namespace with its DHCP and DNS, and its registry."""

from __future__ import annotations

import asyncio

from dayfly.domain.limits import TEARDOWN_SECONDS, TimeLimits
from dayfly.domain.topology import ContainerSpec
from dayfly.engine.alive import exit_error
from dayfly.engine.step import StepContext


class Sandbox:
    """Makes the net and registry containers run."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.sandbox

    async def check(self, context: StepContext) -> bool:
        wanted = {context.topology.net.name, context.topology.registry.name}
        running = {c.name for c in await context.drivers.engine.observe(context.cluster.id) if c.state == "running"}
        return wanted <= running

    async def apply(self, context: StepContext) -> None:
        # One after the other: the registry joins a namespace that has to exist.
        for container in (context.topology.net, context.topology.registry):
            await context.ensure(container)
            await self._see_it_run(context, container)

    async def undo(self, context: StepContext) -> None:
        if context.was_ready:
            # Started again where it stands: its ports, what was saved, and the disks of machines that have joined it
            # must live on.
            return
        # All of it: whatever has joined a namespace cannot outlive it.
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await context.drivers.engine.remove(context.cluster.id)

    async def _see_it_run(self, context: StepContext, container: ContainerSpec) -> None:
        """Raises ContainerExited: its own log tells more than the engine's refusal to have others join it."""
        engine = context.drivers.engine
        status = next((c for c in await engine.observe(context.cluster.id) if c.name == container.name), None)
        if status is None or status.state != "running":
            raise await exit_error(engine, container, status.exit_code if status else None)
