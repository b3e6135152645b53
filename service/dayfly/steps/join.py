"""The step `join`: runs the node image's program that joins one worker to the control plane."""

from __future__ import annotations

from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.errors import JoinFailed
from dayfly.steps.guest.node_files import copy_node_files
from dayfly.steps.guest.node_scripts import kubernetes_node, program_done, run_program
from dayfly.steps.step import Step, StepContext


class Join(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.join + limits.command

    async def check(self, context: StepContext) -> bool:
        return await program_done(context, kubernetes_node(context).join)

    async def apply(self, context: StepContext) -> None:
        await copy_node_files(context)
        context.progress(f"{context.this_node.name} joins the cluster")
        await run_program(context, kubernetes_node(context).join, JoinFailed, timeout=context.limits.join)
