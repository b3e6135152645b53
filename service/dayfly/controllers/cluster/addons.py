"""Installs and removes add-ons of a ready cluster, as a caller's PATCH wants them. The cluster stays ready.

An error is shown at the add-on, and only another request tries it again. Nothing is remembered but the states: a pass
that was cut off is repeated, and looks at what is there.
Not here: add-ons of a cluster that is provisioned (steps/addons.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly.concurrency import first_result, in_order_of_needs
from dayfly.controllers.cluster.context import ClusterContext
from dayfly.controllers.cluster.outcome import RequeueAfter
from dayfly.domain.addon import Addon, AddonError, AddonStatus, needed_by
from dayfly.domain.cluster.model import Cluster, NewEvent
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.errors import AddonFailed, ContainerExited, Failure, VmExited
from dayfly.steps.addons import Addons, install_addon, remove_addon
from dayfly.steps.step import StepContext
from dayfly.store import Claim
from dayfly.vocabulary import AddonState

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 30.0
"""Between two looks at the record, should a notification be lost."""
_DAMAGED_SECONDS: Final = 5.0
"""Until a cluster is looked at again of which a machine ended meanwhile: recovery.py knows what to do."""


class _Outdated(Exception):
    """A caller has changed the add-ons meanwhile."""


def has_due_addons(cluster: Cluster) -> bool:
    return any(one.is_due for one in cluster.addons)


@dataclass(frozen=True)
class AddonController:
    """Carries out changes of the add-ons of ready clusters."""

    context: ClusterContext

    async def converge(self, claim: Claim) -> RequeueAfter:
        """Remove what is gone from the specification, then install what is new. Raises LeaseLost, InfrastructureError.

        Another pass is due afterwards: for what a caller changed meanwhile, or for what else a ready cluster needs.
        """
        make = self.context.step_contexts(claim.cluster, await self.context.secrets(claim))
        context = await make(PlannedStep("addons"), lambda _: None)
        try:
            # Work that never succeeds would take the whole limit, although the caller wants something else.
            await first_result(self._converge(claim, context), self._changed(claim))
        except _Outdated:
            _log.info("the add-ons were changed meanwhile", cluster=claim.cluster.id)
        except (ContainerExited, VmExited) as error:
            _log.warning("a machine ended while add-ons were changed", cluster=claim.cluster.id, code=error.code)
            return RequeueAfter(_DAMAGED_SECONDS)
        return RequeueAfter(0.0)

    async def _converge(self, claim: Claim, context: StepContext) -> None:
        await self._remove_all(claim, context)
        await self._install_all(claim, context)

    async def _changed(self, claim: Claim) -> None:
        """Raises _Outdated once a caller has changed the add-ons since the claim."""
        clusters, cluster = self.context.store.clusters, claim.cluster
        with self.context.store.watch_requests(cluster.id) as watch:
            while (await clusters.get(cluster.id)).spec.addons_revision == cluster.spec.addons_revision:
                await watch.wait(_LOOK_SECONDS)
        raise _Outdated

    async def _remove_all(self, claim: Claim, context: StepContext) -> None:
        former = {addon.name: addon for addon in claim.cluster.spec.former_addons}
        going = {one.name: one for one in claim.cluster.addons if one.state is AddonState.REMOVING}
        addons = {name: former.get(name, Addon(name=name)) for name in going}
        left: set[str] = set()
        """What add-ons need that could not be removed."""

        async def remove(name: str) -> None:
            failed = going[name].error is not None
            if going[name].is_due:
                failed = not await self._remove(claim, context, addons[name], needed=name in left)
            if failed:
                left.update(addons[name].needs)

        await in_order_of_needs(needed_by(addons.values()), remove)

    async def _remove(self, claim: Claim, context: StepContext, addon: Addon, *, needed: bool) -> bool:
        if needed:
            error: Failure | None = AddonFailed(f"the add-on {addon.name} stays: one that needs it was not removed")
        else:
            error = await _error_of(context, remove_addon(context, addon))
        if error is None:
            await self._observed(claim, addon.name, None, NewEvent("cluster.addon", f"add-on {addon.name} is removed"))
            return True
        await self._failed(claim, addon.name, AddonState.REMOVING, error)
        return False

    async def _install_all(self, claim: Claim, context: StepContext) -> None:
        former = {addon.name: addon for addon in claim.cluster.spec.former_addons}
        states = {one.name: one for one in claim.cluster.addons}
        broken = {one.name for one in claim.cluster.addons if one.state is AddonState.FAILED}
        addons = {addon.name: addon for addon in claim.cluster.spec.addons}

        async def install(name: str) -> None:
            if not states.get(name, AddonStatus(name, AddonState.PENDING)).is_due:
                return
            addon = addons[name]
            if missing := sorted(broken.intersection(addon.needs)):
                error: Failure | None = AddonFailed(f"the add-on {name} needs {', '.join(missing)}, which failed")
            else:
                before = [former[name]] if name in former else []
                error = await _error_of(context, install_addon(context, addon, before))
            if error is None:
                ready = NewEvent("cluster.addon", f"add-on {name} is ready")
                await self._observed(claim, name, AddonState.READY, ready)
            else:
                broken.add(name)
                await self._failed(claim, name, AddonState.FAILED, error)

        await in_order_of_needs({addon.name: addon.needs for addon in addons.values()}, install)

    async def _failed(self, claim: Claim, name: str, state: AddonState, error: Failure) -> None:
        evidence = {f"addons/{name}/{key}": text for key, text in error.evidence.items()}
        await self.context.store.status.save_evidence(claim, evidence)
        event = NewEvent("cluster.addon", error.message, code=error.code)
        await self._observed(claim, name, state, event, AddonError(error.code, error.message))

    async def _observed(
        self, claim: Claim, name: str, state: AddonState | None, event: NewEvent, error: AddonError | None = None
    ) -> None:
        seen = await self.context.store.status.set_addon(claim, name, state, error=error, event=event)
        if seen is None:
            raise _Outdated


async def _error_of(context: StepContext, work: Awaitable[None]) -> Failure | None:
    """Why `work` failed. Raises ContainerExited, VmExited, InfrastructureError."""
    limit = Addons().limit(context.limits)
    try:
        async with asyncio.timeout(limit):
            await work
    except TimeoutError:
        return AddonFailed(f"not done after {limit:.0f} s, the limit")
    except (ContainerExited, VmExited):
        raise
    except Failure as error:
        return error
    return None
