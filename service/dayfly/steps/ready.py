"""The step `ready`: every node is Ready, its kubelet answers, and pods can be created (`default` has its account).

What a node reported before its machine was last started does not count. A node that was booted must be Ready in its
present boot. A node that was restored is in the boot of its snapshot, with the Ready condition of that time: its
kubelet is asked as well.
"""

from __future__ import annotations

import asyncio

from dayfly.concurrency import unwrap_exception_group
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.drivers.interfaces import KubeAccess, KubeNode
from dayfly.errors import NodeNotReady, NotUsable, SshTimeout
from dayfly.steps.guest.node_scripts import boot_ids, kubelet_evidence
from dayfly.steps.kubernetes_access import access_of
from dayfly.steps.observe.exit_guard import while_running
from dayfly.steps.step import StepContext


class Ready:
    """Watches the API server until all nodes are ready."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.command + 2 * limits.nodes_ready + limits.pod

    async def check(self, context: StepContext) -> bool:
        access = await access_of(context)
        kube, patience = context.drivers.kube, context.limits.api_request
        # In parallel: an emulated API server takes some tenths of a second for each connection.
        try:
            async with unwrap_exception_group(), asyncio.TaskGroup() as group:
                booting = group.create_task(boot_ids(context))
                looking = group.create_task(kube.nodes(access, timeout=patience))
        except (NodeNotReady, SshTimeout):
            return False
        booted, nodes = booting.result(), looking.result()
        ready = {node.name: node.boot_id for node in nodes if node.ready}
        if not booted.items() <= ready.items():
            return False
        try:
            async with unwrap_exception_group(), asyncio.TaskGroup() as group:
                group.create_task(kube.wait_kubelets(access, booted, timeout=patience))
                group.create_task(kube.wait_service_account(access, timeout=patience))
        except (NodeNotReady, NotUsable):
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
        """Nothing to remove: this step only observes."""

    async def _wait(self, context: StepContext, access: KubeAccess) -> None:
        def on_change(node: KubeNode) -> None:
            context.progress(f"{node.name} is {'Ready' if node.ready else f'not Ready: {node.reason}'}")

        kube, limits = context.drivers.kube, context.limits
        booted = await boot_ids(context)
        await kube.wait_nodes_ready(access, booted, timeout=limits.nodes_ready, on_change=on_change)
        await kube.wait_kubelets(access, booted, timeout=limits.nodes_ready)
        context.progress("all kubelets answer")
        await kube.wait_service_account(access, timeout=limits.pod)
        context.progress("the default service account exists")
