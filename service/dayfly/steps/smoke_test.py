"""The step `smoke_test`: runs a pod to its end, because nodes can be Ready without a working controller manager."""

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
from dayfly.steps.step import Step, StepContext

POD: Final = "dayfly-smoke"

_MARK: Final = "smoke.done"
"""On the first node, until it stops: a pod has run in this boot."""


class SmokeTest(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.nodes_ready + limits.api_request + 2 * limits.pod + 2 * limits.command

    async def check(self, context: StepContext) -> bool:
        return await marked(context, _MARK, context.spec.nodes()[0])

    async def apply(self, context: StepContext) -> None:
        try:
            await while_running(context, self._run(context, await access_of(context)))
        except (NotUsable, NodeNotReady) as error:
            error.evidence |= await kubelet_evidence(context, context.spec.nodes())
            raise
        await remember(context, _MARK, context.spec.nodes()[0])

    async def _run(self, context: StepContext, access: KubeAccess) -> None:
        def on_change(pod: KubePod) -> None:
            place = f" on {pod.node}" if pod.node else ""
            reason = f": {pod.reason}" if pod.reason else ""
            context.progress(f"the smoke pod is {pod.phase}{place}{reason}")

        kube, limits = context.drivers.kube, context.limits
        # The API server refuses pods before the controller manager has created the service account.
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
            # A pod of an interrupted attempt, perhaps of an earlier boot, proves nothing: run it to its removal first.
            with suppress(NotUsable):
                await run()
        await run(on_change=on_change)
