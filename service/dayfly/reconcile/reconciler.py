"""One pass on one claimed cluster: compares what is wanted with what is, and acts until nothing is left to do now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from dayfly.domain.cluster import Cluster, NewEvent, Purpose
from dayfly.domain.expiry import expiry
from dayfly.domain.lifecycle import Desired, Phase
from dayfly.domain.origin import HIBERNATION, TEMPLATE
from dayfly.domain.plan import GROUND, PlannedStep, plan_steps
from dayfly.domain.secrets import ClusterSecrets
from dayfly.engine.ssh_end import end_ssh
from dayfly.engine.step import Step
from dayfly.errors import ContainerExited, DayflyError
from dayfly.reconcile.endings import Endings
from dayfly.reconcile.journal import Journal
from dayfly.reconcile.origins import Origins
from dayfly.reconcile.outcome import Done, Outcome, Provision, RequeueAfter
from dayfly.reconcile.patience import Patience
from dayfly.reconcile.recovery import Lost, Recovery
from dayfly.reconcile.scene import Scene
from dayfly.reconcile.stagger import Stagger
from dayfly.reconcile.standing import Standing, has_more_to_do
from dayfly.reconcile.walk import StepFailed, Undermined, Walk
from dayfly.store import Claim


@dataclass(frozen=True)
class Reconciler:
    """Decides what a cluster needs and has it done."""

    scene: Scene
    steps: Mapping[str, Step]
    endings: Endings
    recovery: Recovery
    origins: Origins
    standing: Standing
    stagger: Stagger
    patience: Patience

    async def reconcile(self, claim: Claim) -> Outcome:
        """One pass, until nothing is left to do now. Raises LeaseLost, InfrastructureError.

        May be cancelled at any await: the next pass goes on from what is so in the world.
        """
        result = await self._act(claim)
        while isinstance(result, Provision):
            result = await self._provision(result.claim, result.new_secrets)
        return result

    async def _act(self, claim: Claim) -> Outcome | Provision:  # noqa: PLR0911 - a table: a row, a return
        """The table: phase → action. What a ready cluster needs next is a table of its own (standing.py)."""
        cluster = claim.cluster
        if cluster.desired is Desired.ABSENT:
            return await self.endings.delete(claim)
        await self._warn(claim)
        match cluster.phase:
            case Phase.PENDING if cluster.reserved:
                return Provision(*await self.origins.begin(claim))
            case Phase.PENDING:
                return Done()  # it waits for room in the queue (admission.py)
            case Phase.PROVISIONING:
                return Provision(claim)
            case Phase.READY:
                return await self.standing.tend(claim)
            case Phase.HIBERNATED:
                return await self.standing.tend_hibernated(claim)
            case Phase.FAILED:
                return await self.endings.tend_failed(claim)
            case Phase.DELETING | Phase.DELETED:
                return await self.endings.delete(claim)

    async def _warn(self, claim: Claim) -> None:
        """Tell ahead of a cluster's end, once."""
        end = expiry(claim.cluster)
        if end is None or claim.cluster.warned_at is not None or claim.at < end.warn_at:
            return
        held = ", but a hold keeps it" if claim.cluster.held(end.at) else ""
        left = max(0.0, (end.at - claim.at).total_seconds())
        why = "time to live" if end.reason == "ttl" else "missing heartbeat"
        words = f"expires in {left:.0f} s, at {end.at:%Y-%m-%d %H:%M:%S} UTC ({why}){held}"
        await self.scene.store.warned(claim, NewEvent("cluster.expiring", words))

    async def _provision(self, claim: Claim, new: ClusterSecrets | None) -> Outcome | Provision:
        """Until it is ready, from wherever its machines come from; or it has failed. `new`: of one that just begins."""
        cluster, store = claim.cluster, self.scene.store
        secrets = new or await self.scene.secrets(claim)

        async def publish(done: PlannedStep) -> None:
            # Callers see a cluster's ports as soon as there are any, not only when it is ready.
            if done.name == "sandbox":
                endpoints = await self.scene.advertised_endpoints(cluster)
                if not endpoints:
                    raise Undermined(
                        StepFailed(done, ContainerExited("the network's container ended: no port is published"))
                    )
                await store.set_endpoints(claim, endpoints)

        try:
            if new is None:
                await self.recovery.prepare(claim)
            async with Journal.open(store, claim, self.scene.clock) as journal:
                contexts = self.scene.contexts(cluster, secrets)
                walk = Walk(self.steps, contexts, journal, partial(self._patience, cluster), self.stagger)
                await walk.run(plan_steps(cluster.spec, cluster.origin, generation=cluster.generation), publish)
            if await self.recovery.lost_meanwhile(claim):
                return RequeueAfter(0.0)
        except Undermined as trouble:
            return await self._again(claim, trouble.failure)
        except StepFailed as failure:
            return await self._otherwise(claim, failure.error, failure.step, failure.node)
        except Lost as lost:
            return await self._otherwise(claim, lost.error, None, lost.node)
        return await self._become_ready(claim, secrets)

    async def _become_ready(self, claim: Claim, secrets: ClusterSecrets) -> Outcome:
        cluster, store = claim.cluster, self.scene.store
        if cluster.ready_at is not None:
            await store.append_event(claim, _back_again(cluster))
        if cluster.spec.idle_seconds is not None or cluster.purpose is Purpose.TEMPLATE:
            # From now on nothing is sent to it but by callers. Here, for another process may have its next pass.
            await end_ssh(self.scene.drivers, cluster, secrets)
        if cluster.spec.idle_seconds is not None:
            await store.saw_traffic(claim, cluster.traffic, active=True)
        if cluster.origin == TEMPLATE and cluster.template_id is not None:
            await store.fork_ended(cluster.template_id, ok=True)
        ready = await store.set_phase(claim, Phase.READY)
        # One that was ready before may have been asked for a checkpoint since, which its row does not show.
        return RequeueAfter(0.0) if has_more_to_do(ready) or cluster.ready_at is not None else Done()

    def _patience(self, cluster: Cluster, planned: PlannedStep) -> Patience:
        """A fork that fails is made otherwise, which is sooner done than to try the same again."""
        hasty = cluster.origin == TEMPLATE and planned.name not in GROUND
        return replace(self.patience, attempts=1) if hasty else self.patience

    async def _otherwise(
        self, claim: Claim, error: DayflyError, step: str | None, node: str | None
    ) -> Outcome | Provision:
        """Its machines from elsewhere, if they may be; else the cluster has failed."""
        found = await self.origins.other(claim, error, step, node)
        if isinstance(found, DayflyError):
            return await self.endings.fail(claim, found, step=step, node=node)
        return Provision(found)

    async def _again(self, claim: Claim, failure: StepFailed) -> Outcome | Provision:
        """Another pass from the start, unless there were too many of late."""
        try:
            await self.recovery.undermined(claim, failure.error)
        except Lost as lost:
            return await self._otherwise(claim, lost.error, failure.step, lost.node or failure.node)
        return RequeueAfter(0.0)


def _back_again(cluster: Cluster) -> NewEvent:
    """How a cluster that was ready before came to be ready again."""
    if cluster.origin is None:
        return NewEvent("cluster.recovered", "everything runs again")
    if cluster.origin == HIBERNATION:
        return NewEvent("cluster.resumed", "it goes on where it was")
    return NewEvent("cluster.reset", f"is back: generation {cluster.generation}, from its {cluster.origin.kind}")
