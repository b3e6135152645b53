"""The step `control_plane`: runs the node image's program that makes the first node a Kubernetes control plane.

On a node that was restarted, the same program only waits until the control plane answers.
"""

from __future__ import annotations

from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.errors import ControlPlaneInit
from dayfly.steps.guest.node_files import copy_node_files
from dayfly.steps.guest.node_scripts import kubernetes_node, program_done, run_program
from dayfly.steps.kubernetes_access import access_of
from dayfly.steps.step import Step, StepContext


class ControlPlane(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.api_request + 2 * limits.command + limits.control_plane

    async def check(self, context: StepContext) -> bool:
        access = await access_of(context)
        if not await context.drivers.kube.healthy(access, timeout=context.limits.api_request):
            return False
        return await program_done(context, kubernetes_node(context).init)

    async def apply(self, context: StepContext) -> None:
        node, program = context.this_node, kubernetes_node(context).init
        if await program_done(context, program):
            # Do not copy the files again: an API server that starts may be reading them.
            context.progress(f"{node.name} starts its control plane again")
        else:
            await copy_node_files(context)
            context.progress(f"{node.name} has its certificates and starts its control plane")
        await run_program(context, program, ControlPlaneInit, timeout=context.limits.control_plane)
