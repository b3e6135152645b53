"""The step `boot`: one node's virtual machine, until it answers on SSH as who it should be."""

from __future__ import annotations

import asyncio
from typing import Final

from dayfly.domain.limits import TEARDOWN_SECONDS, TimeLimits
from dayfly.engine.alive import container_evidence, while_running
from dayfly.engine.seed import seed_file
from dayfly.engine.step import StepContext
from dayfly.errors import SshTimeout

_LOOK_SECONDS: Final = 10.0


class Boot:
    """Makes a node's container run and waits for its guest."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.boot + limits.sandbox

    async def check(self, context: StepContext) -> bool:
        observed = await context.drivers.engine.observe(context.cluster.id)
        if not any(c.name == context.container.name and c.state == "running" for c in observed):
            return False
        try:
            await context.drivers.ssh.wait(await context.ssh_target(), timeout=_LOOK_SECONDS)
        except SshTimeout:
            return False
        return True

    async def apply(self, context: StepContext) -> None:
        engine, node = context.drivers.engine, context.this_node
        await engine.ensure(context.container, [seed_file(context.cluster.id, node, context.secrets)])
        context.progress(f"{node.name} is booting")
        answered = context.drivers.ssh.wait(await context.ssh_target(), timeout=context.limits.boot)
        try:
            await while_running(engine, [context.topology.net, context.container], answered)
        except SshTimeout as error:
            error.evidence |= await container_evidence(engine, context.container)
            raise

    async def undo(self, context: StepContext) -> None:
        async with asyncio.timeout(TEARDOWN_SECONDS):
            await context.drivers.engine.remove(context.cluster.id, node=context.this_node.name)
