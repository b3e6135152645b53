"""The step `ready`: every node is Ready, and pods can be made (the `default` service account exists)."""

from __future__ import annotations

from dayfly.domain.limits import TimeLimits
from dayfly.drivers.protocols import KubeAccess, KubeNode
from dayfly.engine.alive import while_running
from dayfly.engine.kube_access import access_of
from dayfly.engine.node_program import kubelet_evidence
from dayfly.engine.step import StepContext
from dayfly.errors import NodeNotReady, NotUsable


class Ready:
    """Watches the API server until the cluster stands."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.nodes_ready + limits.pod

    async def check(self, context: StepContext) -> bool:
        access = await access_of(context)
        try:
            nodes = await context.drivers.kube.nodes(access, timeout=context.limits.api_request)
        except NodeNotReady:
            return False
        ready = {node.name for node in nodes if node.ready}
        if not {node.name for node in context.spec.nodes()} <= ready:
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

        names = [node.name for node in context.spec.nodes()]
        kube, limits = context.drivers.kube, context.limits
        await kube.wait_nodes_ready(access, names, timeout=limits.nodes_ready, on_change=on_change)
        await kube.wait_service_account(access, timeout=limits.pod)
        context.progress("the default service account exists")
