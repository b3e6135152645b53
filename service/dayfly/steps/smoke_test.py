"""The step `smoke_test`: runs a pod to its end: nodes can be Ready without a controller manager, and useless."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Final

from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.drivers.interfaces import KubeAccess, KubePod
from dayfly.errors import NodeNotReady, NotUsable
from dayfly.steps.guest.node_scripts import kubelet_evidence, kubernetes_node, marked, remember
from dayfly.steps.kubernetes_access import access_of
from dayfly.steps.observe.exit_guard import while_running
from dayfly.steps.step import StepContext

POD: Final = "dayfly-smoke"

_MARK: Final = "smoke.done"
"""On the first node, until it stops: that a pod has run since says that the control plane of this boot works."""


class SmokeTest:
    """Runs one pod of an image that every node has."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.nodes_ready + limits.api_request + 2 * limits.pod + 2 * limits.command

    async def check(self, context: StepContext) -> bool:
        return await marked(context, _MARK, context.spec.nodes()[0])

    async def apply(self, context: StepContext) -> None:
        containers = (context.topology.net, *context.topology.nodes)
        try:
            await while_running(context.drivers.engine, containers, self._run(context, await access_of(context)))
        except (NotUsable, NodeNotReady) as error:
            error.evidence |= await kubelet_evidence(context, context.spec.nodes())
            raise
        await remember(context, _MARK, context.spec.nodes()[0])

    async def undo(self, context: StepContext) -> None:
        """Nothing to clear away: the next attempt sees to a pod that this one left."""

    async def _run(self, context: StepContext, access: KubeAccess) -> None:
        def on_change(pod: KubePod) -> None:
            place = f" on {pod.node}" if pod.node else ""
            reason = f": {pod.reason}" if pod.reason else ""
            context.progress(f"the smoke pod is {pod.phase}{place}{reason}")

        kube, limits = context.drivers.kube, context.limits
        # Without its service account a pod is refused; the account is the controller manager's first sign of life.
        await kube.wait_service_account(access, timeout=limits.nodes_ready)
        run = partial(
            kube.run_pod,
            access,
            POD,
            image=kubernetes_node(context).smoke_image,
            argv=["/bin/sh", "-c", "echo it runs"],
            timeout=limits.pod,
        )
        if any(pod.name == POD for pod in await kube.pods(access, timeout=limits.api_request)):
            # Of an attempt that was cut off, perhaps in an earlier boot: however it ends, it proves nothing, and goes.
            with suppress(NotUsable):
                await run()
        await run(on_change=on_change)
