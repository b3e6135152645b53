"""Reconciles one claimed cluster: compares desired and actual state, and acts until nothing is left to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from dayfly.controllers.cluster.boot_source import BootSources, NoOtherSource
from dayfly.controllers.cluster.boot_throttle import BootThrottle
from dayfly.controllers.cluster.context import ClusterContext
from dayfly.controllers.cluster.event_recorder import EventRecorder
from dayfly.controllers.cluster.finalize import Finalizer
from dayfly.controllers.cluster.outcome import Done, Outcome, Provision, RequeueAfter
from dayfly.controllers.cluster.plan_runner import DependencyLost, PlanRunner, StepFailed
from dayfly.controllers.cluster.ready import ReadyController, has_more_to_do
from dayfly.controllers.cluster.recovery import Lost, Recovery
from dayfly.controllers.cluster.retry import RetryPolicy
from dayfly.domain.cluster.boot_source import HIBERNATION, TEMPLATE
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent, Purpose
from dayfly.domain.cluster.provisioning_plan import SHARED_STEPS, PlannedStep, plan_steps
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.errors import ContainerExited, DayflyError
from dayfly.steps.guest.close_ssh import close_ssh
from dayfly.steps.step import Step
from dayfly.store import Claim


@dataclass(frozen=True)
class Reconciler:
    """Decides what a cluster needs next, and runs it."""

    context: ClusterContext
    steps: Mapping[str, Step]
    finalizer: Finalizer
    recovery: Recovery
    boot_sources: BootSources
    ready: ReadyController
    boot_throttle: BootThrottle
    retry_policy: RetryPolicy

    async def reconcile(self, claim: Claim) -> Outcome:
        """One pass, until nothing is left to do now. Raises LeaseLost, InfrastructureError.

        May be cancelled at any await: the next pass continues from the actual state.
        """
        result = await self._act(claim)
        while isinstance(result, Provision):
            result = await self._provision(result.claim, result.new_secrets)
        return result

    async def _act(self, claim: Claim) -> Outcome | Provision:  # noqa: PLR0911 - a table: a row, a return
        """The table: phase → action. What a ready cluster needs next is a table of its own (ready.py)."""
        cluster = claim.cluster
        if cluster.desired is Desired.ABSENT:
            return await self.finalizer.delete(claim)
        await self._warn(claim)
        match cluster.phase:
            case Phase.PENDING if cluster.reserved:
                return await self.boot_sources.begin(claim)
            case Phase.PENDING:
                return Done()  # it is queued (controllers/admission.py)
            case Phase.PROVISIONING:
                return Provision(claim)
            case Phase.READY:
                return await self.ready.tend(claim)
            case Phase.HIBERNATED:
                return await self.ready.tend_hibernated(claim)
            case Phase.FAILED:
                return await self.finalizer.tend_failed(claim)
            case Phase.DELETING | Phase.DELETED:
                return await self.finalizer.delete(claim)

    async def _warn(self, claim: Claim) -> None:
        """Record a warning before a cluster expires, once."""
        end = expiry(claim.cluster)
        if end is None or claim.cluster.warned_at is not None or claim.at < end.warn_at:
            return
        held = ", but a hold keeps it" if claim.cluster.held(end.at) else ""
        left = max(0.0, (end.at - claim.at).total_seconds())
        why = "time to live" if end.reason == "ttl" else "missing heartbeat"
        words = f"expires in {left:.0f} s, at {end.at:%Y-%m-%d %H:%M:%S} UTC ({why}){held}"
        await self.context.store.status.warned(claim, NewEvent("cluster.expiring", words))

    async def _provision(self, claim: Claim, new: ClusterSecrets | None) -> Outcome | Provision:
        """Run the plan until the cluster is ready or failed. `new`: the secrets of a cluster that just begins."""
        cluster, store = claim.cluster, self.context.store
        secrets = new or await self.context.secrets(claim)

        async def publish(done: PlannedStep) -> None:
            # Callers see the ports before the cluster is ready.
            if done.name == "sandbox":
                endpoints = await self.context.advertised_endpoints(cluster)
                if not endpoints:
                    raise DependencyLost(
                        StepFailed(done, ContainerExited("the network's container ended: no port is published"))
                    )
                if endpoints != cluster.endpoints:
                    # A claimed member keeps the ports that it had in the pool.
                    await store.status.set_endpoints(claim, endpoints)

        try:
            if new is None:
                await self.recovery.prepare(claim)
            async with EventRecorder.open(store, claim, self.context.clock) as recorder:
                step_contexts = self.context.step_contexts(cluster, secrets)
                runner = PlanRunner(
                    self.steps, step_contexts, recorder, partial(self._retry_policy, cluster), self.boot_throttle
                )
                await runner.run(plan_steps(cluster.spec, cluster.boot_source, generation=cluster.generation), publish)
            if await self.recovery.lost_meanwhile(claim):
                return RequeueAfter(0.0)
        except DependencyLost as trouble:
            return await self._restart(claim, trouble.failure)
        except StepFailed as failure:
            return await self._fallback_or_fail(claim, failure.error, failure.step, failure.node)
        except Lost as lost:
            return await self._fallback_or_fail(claim, lost.error, None, lost.node)
        return await self._become_ready(claim, secrets)

    async def _become_ready(self, claim: Claim, secrets: ClusterSecrets) -> Outcome:
        cluster, store = claim.cluster, self.context.store
        if cluster.spec.idle_seconds is not None or cluster.purpose is Purpose.TEMPLATE:
            # Idle kept connections would count as traffic, or be saved. Here: another process may run the next pass.
            await close_ssh(self.context.drivers, cluster, secrets)
        if cluster.spec.idle_seconds is not None:
            await store.provisioning.saw_traffic(claim, cluster.traffic)
        if cluster.boot_source == TEMPLATE and cluster.template_id is not None:
            await store.templates.fork_ended(cluster.template_id, ok=True)
        again = cluster.ready_at is not None
        ready = await store.status.set_phase(claim, Phase.READY, event=_ready_again(cluster) if again else None)
        # A checkpoint may have been requested meanwhile; the cluster's row does not show it.
        return RequeueAfter(0.0) if again or has_more_to_do(ready) else Done()

    def _retry_policy(self, cluster: Cluster, planned: PlannedStep) -> RetryPolicy:
        """One attempt for the steps of a fork: its fallback is faster than a retry."""
        once = cluster.boot_source == TEMPLATE and planned.name not in SHARED_STEPS
        return replace(self.retry_policy, attempts=1) if once else self.retry_policy

    async def _fallback_or_fail(
        self, claim: Claim, error: DayflyError, step: str | None, node: str | None
    ) -> Outcome | Provision:
        """Provision from another boot source, if there is one; else fail the cluster."""
        try:
            return Provision(await self.boot_sources.other(claim, error, step, node))
        except NoOtherSource as none:
            return await self.finalizer.fail(claim, none.error, step=step, node=node)

    async def _restart(self, claim: Claim, failure: StepFailed) -> Outcome | Provision:
        """Another pass from the start, unless there were too many recently."""
        try:
            await self.recovery.dependency_lost(claim, failure.error)
        except Lost as lost:
            return await self._fallback_or_fail(claim, lost.error, failure.step, lost.node or failure.node)
        return RequeueAfter(0.0)


def _ready_again(cluster: Cluster) -> NewEvent:
    """The event of a cluster that is ready again."""
    if cluster.boot_source is None:
        return NewEvent("cluster.recovered", "everything runs again")
    if cluster.boot_source == HIBERNATION:
        return NewEvent("cluster.resumed", "its machines continue where they were")
    kind = cluster.boot_source.kind
    return NewEvent("cluster.reset", f"reset done: generation {cluster.generation}, from its {kind}")
