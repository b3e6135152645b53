"""The step `ready`: every node is Ready, and pods can be made (the `default` service account exists).

A node that was started again counts when it has been Ready since: what it said in an earlier boot says nothing.
"""

from __future__ import annotations

from dayfly.domain.limits import TimeLimits
from dayfly.drivers.protocols import KubeAccess, KubeNode
from dayfly.engine.alive import while_running
from dayfly.engine.kube_access import access_of
from dayfly.engine.node_program import boot_ids, kubelet_evidence
from dayfly.engine.step import StepContext
from dayfly.errors import NodeNotReady, NotUsable, SshTimeout


class Ready:
    """Watches the API server until the cluster stands."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.command + limits.nodes_ready + limits.pod

    async def check(self, context: StepContext) -> bool:
        access = await access_of(context)
        try:
            booted = await boot_ids(context)
            nodes = await context.drivers.kube.nodes(access, timeout=context.limits.api_request)
        except (NodeNotReady, SshTimeout):
            return False
        ready = {node.name: node.boot_id for node in nodes if node.ready}
        if not booted.items() <= ready.items():
            return False
        try:
            await context.drivers.kube.wait_service_account(access, timeout=context.limits.api_request)
        except NotUsable:
            return False
        return True

    async def apply(self, context: StepContext) -> None:
        containers = (context.topology.net, *context.topology.nodes)
        try:
            await while_running(context.drivers.engine, containers, self._wait(context, await access_of(context)))
        except (NodeNotReady, NotUsable) as error:
            error.evidence |= await kubelet_evidence(context, context.spec.nodes())
            raise

    async def undo(self, context: StepContext) -> None:
        """Nothing to clear away: this step only looks."""

    async def _wait(self, context: StepContext, access: KubeAccess) -> None:
        def on_change(node: KubeNode) -> None:
            context.progress(f"{node.name} is {'Ready' if node.ready else f'not Ready: {node.reason}'}")

        kube, limits = context.drivers.kube, context.limits
        await kube.wait_nodes_ready(access, await boot_ids(context), timeout=limits.nodes_ready, on_change=on_change)
        await kube.wait_service_account(access, timeout=limits.pod)
        context.progress("the default service account exists")
