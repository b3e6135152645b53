"""The step `ready`: nodes are Ready, kubelets answer, pods can be created, what the image adds and add-ons are ready.

It also writes the ConfigMap that names the cluster's registry: the API server of a fork has no earlier moment for it.

Without Kubernetes: every node answers over SSH, which the memory of a restored node cannot show.

The last step of a plan that has it, but for `conformance`, which ends with another look like this. At its end it looks
at everything again: what it saw before may have changed.
What was recorded before the machines last started does not count, whether they booted or were restored: a node must be
Ready in its present boot, and its kubelet must have renewed its lease since that start. The engine says when the
machines' containers started; the cluster's own clock says when the leases were renewed. The host's clock may be set
meanwhile: a lease that was renewed before this pass began counts for nothing, however old the machines seem to be. That
holds for machines that were paused, too: the pass begins when they go on. Restored memory also holds the time since
when a node is Ready: a time before the start does not count either, and two looks of this pass take its place.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from dayfly.concurrency import in_parallel, unwrap_exception_group
from dayfly.domain.cluster.provisioning_plan import wants_kubernetes
from dayfly.domain.cluster.spec import Node
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.drivers.interfaces import KubeAccess, KubeNode, Ssh, SshTarget
from dayfly.errors import NodeNotReady, NotUsable, SshRefused, SshTimeout
from dayfly.steps.guest.node_scripts import boot_ids, kubelet_evidence, kubernetes_node
from dayfly.steps.guest.registry_names import registry_hosting
from dayfly.steps.kubernetes_access import access_of
from dayfly.steps.observe.exit_guard import container_evidence, while_running
from dayfly.steps.step import Step, StepContext

_LOOK_SECONDS: Final = 10.0
_STEADY_SECONDS: Final = 2.0
"""A node must have been Ready for so long without a break."""

_LONG_AGO: Final = -math.inf
_Seen = dict[str, float]
"""Node → when this pass first saw it Ready, and saw it so in every look since, on the clock that nobody can set; where
the node says that it became so since its start, long ago."""


class Ready(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.command + 5 * limits.nodes_ready + 2 * limits.pod

    async def check(self, context: StepContext) -> bool:
        if not wants_kubernetes(context.spec):
            return await _answer(context)
        access, timeout = await access_of(context), context.limits.api_request
        kube, kubernetes = context.drivers.kube, kubernetes_node(context)
        try:
            booted, hosting, seen = await boot_ids(context), await registry_hosting(context), _Seen()
            if await _problem(context, access, booted, seen) is not None:
                if booted.keys() - seen.keys():
                    return False
                # All are Ready; how long, only a second look shows.
                await context.clock.sleep(_STEADY_SECONDS)
            # In parallel: an emulated API server takes some tenths of a second for each connection.
            async with unwrap_exception_group(), asyncio.TaskGroup() as group:
                group.create_task(kube.wait_kubelets(access, booted, timeout=timeout))
                group.create_task(kube.wait_usable(access, kubernetes.smoke_image, timeout=timeout))
                group.create_task(kube.wait_paths(access, _paths(context), timeout=timeout))
                if hosting is not None:
                    group.create_task(kube.check_config_map(access, hosting, timeout=timeout))
            return await _problem(context, access, booted, seen) is None
        except (NodeNotReady, NotUsable, SshTimeout):
            return False

    async def apply(self, context: StepContext) -> None:
        if not wants_kubernetes(context.spec):
            await while_running(context, _wait_ssh(context))
            return
        try:
            await while_running(context, self._wait(context, await access_of(context)))
        except (NodeNotReady, NotUsable) as error:
            error.evidence |= await kubelet_evidence(context, context.spec.nodes())
            raise

    async def _wait(self, context: StepContext, access: KubeAccess) -> None:
        limits, began = context.limits, context.clock.monotonic()
        booted, seen = await boot_ids(context), _Seen()
        while True:
            await self._wait_once(context, access, booted, seen)
            if (rest := _STEADY_SECONDS - (context.clock.monotonic() - max(seen.values(), default=_LONG_AGO))) > 0:
                await context.clock.sleep(rest)
            problem = await _problem(context, access, booted, seen)
            if problem is None:
                return
            if context.clock.monotonic() - began > 2 * limits.nodes_ready:
                raise NodeNotReady(problem)
            context.progress(f"{problem}: waiting again")
            # A node that became Ready just now is looked at again when it has been so for a moment.
            await context.clock.sleep(_STEADY_SECONDS)

    async def _wait_once(
        self, context: StepContext, access: KubeAccess, booted: Mapping[str, str], seen: _Seen
    ) -> None:
        def on_change(node: KubeNode) -> None:
            context.progress(f"{node.name} is {'Ready' if node.ready else f'not Ready: {node.reason}'}")

        kube, limits, kubernetes = context.drivers.kube, context.limits, kubernetes_node(context)
        tell = context.progress
        await kube.wait_nodes_ready(access, booted, timeout=limits.nodes_ready, on_change=on_change)
        await kube.wait_renewed(access, await _started(context), timeout=limits.nodes_ready)
        context.progress("all nodes have reported since the start")
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            group.create_task(kube.wait_kubelets(access, booted, timeout=limits.nodes_ready, on_late=tell))
            # The first look, so that the moment passes while the rest is waited for.
            group.create_task(_look(context, access, booted, seen))
        context.progress("all kubelets answer")
        await kube.wait_service_account(access, timeout=limits.pod, on_late=tell)
        hosting = await registry_hosting(context)
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            group.create_task(kube.wait_usable(access, kubernetes.smoke_image, timeout=limits.pod, on_late=tell))
            group.create_task(kube.wait_paths(access, _paths(context), timeout=limits.pod, on_late=tell))
            if hosting is not None:
                group.create_task(kube.put_config_map(access, hosting, timeout=limits.pod))
        context.progress("pods can be created")


def _paths(context: StepContext) -> tuple[str, ...]:
    """What the image and the add-ons show of their readiness."""
    of_addons = (path for addon in context.cluster.expected_addons for path in addon.ready_paths)
    return (*kubernetes_node(context).ready_paths, *of_addons)


async def _answer(context: StepContext) -> bool:
    """Whether every node answers over SSH now."""
    ssh = context.drivers.ssh
    targets = [await context.ssh_target(node) for node in context.spec.nodes()]
    try:
        await in_parallel(_answered(ssh, target, _LOOK_SECONDS) for target in targets)
    except SshTimeout:
        return False
    return True


async def _answered(ssh: Ssh, target: SshTarget, timeout: float) -> None:
    """Wait until the node's sshd answers. A refusal is an answer, too: the caller may have replaced keys.

    Raises SshTimeout.
    """
    with suppress(SshRefused):
        await ssh.wait(target, timeout=timeout)


async def _wait_ssh(context: StepContext) -> None:
    """Wait until every node has answered over SSH."""

    async def answered(node: Node) -> None:
        target = await context.ssh_target(node)
        # A kept connection may hang.
        await context.drivers.ssh.forget(target)
        try:
            await _answered(context.drivers.ssh, target, context.limits.command)
        except SshTimeout as error:
            error.evidence |= await container_evidence(context.drivers.engine, context.of(node).container)
            raise
        context.progress(f"{node.name} answers over SSH")

    await in_parallel(map(answered, context.spec.nodes()))


async def _look(context: StepContext, access: KubeAccess, booted: Mapping[str, str], seen: _Seen) -> None:
    """Note in `seen` which nodes are Ready now. The last look decides: this one may fail."""
    with suppress(NodeNotReady):
        await _problem(context, access, booted, seen)


async def _problem(context: StepContext, access: KubeAccess, booted: Mapping[str, str], seen: _Seen) -> str | None:
    """The first node that is not ready now, and why. Raises NodeNotReady where the API server does not answer."""
    # Before the API server is asked: so an age by its clock that is less is of a report since the start.
    started, asked = await _started(context), context.clock.monotonic()
    found = {node.name: node for node in await context.drivers.kube.nodes(access, timeout=context.limits.api_request)}
    problems = list[str]()
    for name, boot_id in booted.items():
        if (problem := _node_problem(name, found.get(name), boot_id, started[name])) is not None:
            seen.pop(name, None)
            problems.append(problem)
            continue
        is_new = found[name].changed_within(started[name])
        if asked - seen.setdefault(name, _LONG_AGO if is_new else context.clock.monotonic()) < _STEADY_SECONDS:
            problems.append(f"{name} has been seen Ready since its start for less than {_STEADY_SECONDS:g} s")
    return next(iter(problems), None)


def _node_problem(name: str, node: KubeNode | None, boot_id: str, started: float) -> str | None:
    """Why a node whose machine started `started` seconds ago is not ready, by one look alone."""
    if node is None:
        return f"{name} is not registered"
    if not node.ready:
        return f"{name} is not Ready: {node.reason}; {node.last_report}"
    if node.boot_id != boot_id:
        return f"{name} has not reported since its boot; {node.last_report}"
    if not node.renewed_within(started):
        return f"{name} has not reported since its start {started:.0f} s ago; {node.last_report}"
    if node.condition_age < _STEADY_SECONDS:
        return f"{name} has been Ready for less than {_STEADY_SECONDS:g} s"
    return None


async def _started(context: StepContext) -> dict[str, float]:
    """Node → seconds since its machine last started, or since this pass began if that is less.

    By the host: its guest may not know of it. A machine starts with its container; that of a pool member was paused
    until the claim, when its cluster was created. Raises NodeNotReady where one was never started.
    """
    passed = context.clock.monotonic() - context.began
    seen = {one.name: one.started_at for one in await context.drivers.engine.list_containers(context.cluster.id)}
    now, ages = context.clock.now(), dict[str, float]()
    for node in context.spec.nodes():
        at = seen.get(context.of(node).container.name)
        if at is None:
            raise NodeNotReady(f"the machine of {node.name} is not started")
        age = (now - max(at, context.cluster.created_at)).total_seconds()
        # A start in the future: the clock was set back since.
        ages[node.name] = min(age, passed) if age >= 0 else passed
    return ages
