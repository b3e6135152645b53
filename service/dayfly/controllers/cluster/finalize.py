"""Ends clusters: failed, held or deleted. Nothing stays on the engine, except what a hold keeps.

Evidence is collected before anything is removed; the host's resources are released when the engine has nothing left.
"""

from __future__ import annotations

from typing import Final

import structlog

from dayfly import metrics
from dayfly.controllers.cluster.context import ClusterContext
from dayfly.controllers.cluster.outcome import Done, Outcome, RequeueAfter
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Fault, NewEvent
from dayfly.errors import AddonFailed, DayflyError, Failure, InfrastructureError
from dayfly.steps.observe.diagnostics import collect
from dayfly.steps.teardown import remove_everything
from dayfly.store import Claim

_log = structlog.get_logger(__name__)

_RETRY_SECONDS: Final = 5.0
_LONGEST_RETRY_SECONDS: Final = 300.0


class Finalizer:
    """Fails and deletes clusters."""

    def __init__(self, context: ClusterContext) -> None:
        self._context, self._store, self._engine = context, context.store, context.drivers.engine

    async def fail(
        self, claim: Claim, error: DayflyError, *, step: str | None = None, node: str | None = None
    ) -> Outcome:
        """Save the evidence, remove the machines unless a hold keeps them, and record the failure."""
        cluster = claim.cluster
        secrets = await self._store.clusters.secrets(cluster.id)
        context = self._context
        left = await collect(context.drivers, context.topology(cluster), secrets, context.gauge, context.clock)
        # The step's own evidence has names of its own: it is of the moment of the failure.
        own = {f"{step or 'cluster'}/{name}": text for name, text in error.evidence.items()}
        await self._store.status.save_evidence(claim, {**left, **own})
        # Removed before the phase changes: a failed cluster runs nothing.
        try:
            removed, outcome = await self._keep_or_clear(claim)
        except InfrastructureError:
            removed, outcome = False, RequeueAfter(0.0)  # the removal follows later
        fault = Fault(error.code, error.message, step, node)
        # One write: after a crash between two, the next pass would provision the cluster again.
        addon = error.addon if isinstance(error, AddonFailed) else None
        await self._store.status.set_phase(claim, Phase.FAILED, fault=fault, free=removed, addon=addon)
        metrics.cluster_failures.labels(fault.code).inc()
        _log.warning("cluster failed", cluster=cluster.id, code=fault.code, step=step, node=node)
        return outcome

    async def tend_failed(self, claim: Claim) -> Outcome:
        """Remove what a failed cluster still has on the engine."""
        if not claim.cluster.reserved:
            return Done()
        removed, outcome = await self._keep_or_clear(claim)
        if removed:
            await self._store.status.free(claim)
        return outcome

    async def delete(self, claim: Claim) -> Outcome:
        """Remove the cluster from the engine; afterwards its name and its share of the host are free."""
        cluster = claim.cluster
        if cluster.phase is Phase.DELETED:
            return Done()
        if cluster.phase is not Phase.DELETING:
            end = expiry(cluster)
            over = NewEvent("cluster.expired", end.story) if end is not None and end.at <= claim.at else None
            await self._store.status.set_phase(claim, Phase.DELETING, event=over)
        began = self._context.clock.monotonic()
        if (again := await self._remove(claim)) is not None:
            return again
        seconds = round(self._context.clock.monotonic() - began, 3)
        metrics.step_seconds.labels("teardown", "done").observe(seconds)
        done = NewEvent("step.done", "every container is removed", "teardown", seconds=seconds)
        await self._store.status.set_phase(claim, Phase.DELETED, event=done)
        return Done()

    async def _keep_or_clear(self, claim: Claim) -> tuple[bool, Outcome]:
        """Whether the engine has nothing left of the cluster, and when to look again."""
        cluster = claim.cluster
        if cluster.held(claim.at):
            await self._hold(claim)
            return False, Done()
        again = await self._remove(claim)
        return again is None, again or Done()

    async def _hold(self, claim: Claim) -> None:
        cluster, hold = claim.cluster, claim.cluster.hold
        if hold is None or (cluster.phase is Phase.FAILED and hold.vms == "running"):
            return
        if hold.vms != "running":  # what failed cannot hibernate
            for node in self._context.topology(cluster).nodes:
                await self._engine.stop(node.name)
            await self._store.status.free_machines(claim)
        if cluster.phase is not Phase.FAILED:
            how = "running" if hold.vms == "running" else "stopped"
            words = f"kept until {hold.until:%Y-%m-%d %H:%M:%S} UTC with its machines {how}: {hold.reason}"
            await self._store.status.append_event(claim, NewEvent("cluster.held", words))

    async def _remove(self, claim: Claim) -> RequeueAfter | None:
        """None when everything is removed, else when to retry."""
        try:
            await remove_everything(self._engine, claim.cluster.id)
        except Failure as error:
            message = f"cannot be removed yet: {error.message}"
            metrics.step_failures.labels(error.code).inc()
            await self._store.status.append_event(claim, NewEvent("step.waiting", message, "teardown", code=error.code))
            return RequeueAfter(_backoff(claim))
        except InfrastructureError as error:
            error.step = "teardown"
            raise
        return None


def _backoff(claim: Claim) -> float:
    """Seconds since the first attempt, within bounds: the pause doubles each time."""
    cluster = claim.cluster
    if cluster.phase not in {Phase.DELETING, Phase.FAILED}:
        return _RETRY_SECONDS
    tried = (claim.at - cluster.updated_at).total_seconds()
    return min(max(tried, _RETRY_SECONDS), _LONGEST_RETRY_SECONDS)
