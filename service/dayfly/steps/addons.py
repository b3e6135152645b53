"""The step `addons`: every add-on of the cluster is installed and works, and nothing is left of removed ones.

All add-ons are installed at the same time, but each after those that it needs; their removal is the reverse. The
objects of an add-on are applied one after the other, and have the label that says whose they are. An object of the same
name without it is somebody else's: it is never changed, and the add-on fails. What is there is looked at each time, so
that an attempt that was cut off is completed by the next.
Not here: changes of a ready cluster (controllers/cluster/addons.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from dayfly.concurrency import in_order_of_needs
from dayfly.domain.addon import LABEL_ADDON, Addon, needed_by, title
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.errors import AddonFailed, NotUsable
from dayfly.steps.guest.node_scripts import kubelet_evidence
from dayfly.steps.kubernetes_access import access_of
from dayfly.steps.observe.exit_guard import while_running
from dayfly.steps.step import Step, StepContext

_SPARE_SECONDS: Final = 60.0
"""To name the add-on that used up the limit, and to collect evidence."""


class Addons(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.addons + limits.command + _SPARE_SECONDS

    async def check(self, context: StepContext) -> bool:
        access, timeout, kube = await access_of(context), context.limits.api_request, context.drivers.kube
        try:
            for addon in context.cluster.expected_addons:
                if not all(_is_of(addon, found) for found in await kube.labels(access, addon.objects, timeout=timeout)):
                    return False
                await kube.wait_paths(access, addon.ready_paths, timeout=timeout)
            for addon in context.spec.former_addons:
                if any(_is_of(addon, found) for found in await kube.labels(access, addon.objects, timeout=timeout)):
                    return False
        except NotUsable:
            return False
        return True

    async def apply(self, context: StepContext) -> None:
        try:
            await while_running(context, self._converge(context))
        except AddonFailed as error:
            error.evidence |= await kubelet_evidence(context, context.spec.nodes())
            raise

    async def _converge(self, context: StepContext) -> None:
        until = context.clock.monotonic() + context.limits.addons
        former = {addon.name: addon for addon in context.spec.former_addons}
        expected = {addon.name: addon for addon in context.cluster.expected_addons}

        async def remove(name: str) -> None:
            await _remove(context, former[name], until)

        async def install(name: str) -> None:
            await _install(context, expected[name], until)
            context.progress(f"the add-on {name} is ready")

        await in_order_of_needs(needed_by(former.values()), remove)
        await in_order_of_needs({addon.name: addon.needs for addon in expected.values()}, install)


async def install_addon(context: StepContext, addon: Addon, before: Sequence[Addon] = ()) -> None:
    """Install or complete `addon`, until it works; `before` is removed first.

    Raises AddonFailed, ContainerExited, VmExited.
    """
    until = context.clock.monotonic() + context.limits.addons

    async def work() -> None:
        for former in before:
            await _remove(context, former, until)
        await _install(context, addon, until)

    await while_running(context, work())


async def remove_addon(context: StepContext, addon: Addon) -> None:
    """Delete what is there of `addon`, until it is gone. Raises AddonFailed, ContainerExited, VmExited."""
    await while_running(context, _remove(context, addon, context.clock.monotonic() + context.limits.addons))


async def _install(context: StepContext, addon: Addon, until: float) -> None:
    kube, access = context.drivers.kube, await access_of(context)
    with _failure(addon, "cannot be installed"):
        there = await kube.labels(access, addon.objects, timeout=_left(context, until))
        for item, found in zip(addon.objects, there, strict=True):
            if found is not None and not _is_of(addon, found):
                raise NotUsable(f"{title(item)} exists, and has not the label {LABEL_ADDON}={addon.name}")
        await kube.apply(access, addon.objects, timeout=_left(context, until))
    context.progress(f"the objects of the add-on {addon.name} are applied")
    with _failure(addon, "does not work"):
        await kube.wait_paths(access, addon.ready_paths, timeout=_left(context, until), on_late=context.progress)


async def _remove(context: StepContext, addon: Addon, until: float) -> None:
    label, objects = (LABEL_ADDON, addon.name), addon.objects[::-1]
    with _failure(addon, "cannot be removed"):
        access, left = await access_of(context), _left(context, until)
        await context.drivers.kube.delete(access, objects, label=label, timeout=left, on_late=context.progress)


def _is_of(addon: Addon, labels: Mapping[str, str] | None) -> bool:
    return labels is not None and labels.get(LABEL_ADDON) == addon.name


def _left(context: StepContext, until: float) -> float:
    return max(until - context.clock.monotonic(), context.limits.api_request)


@contextmanager
def _failure(addon: Addon, words: str) -> Iterator[None]:
    """Names the add-on in what the API server refused."""
    try:
        yield
    except NotUsable as error:
        failed = AddonFailed(f"the add-on {addon.name} {words}: {error.message}", evidence=error.evidence)
        failed.addon = addon.name
        raise failed from error
