"""One pass on one claimed cluster: compares what is wanted with what is, and acts until nothing is left to do now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dayfly.domain.cluster import NewEvent
from dayfly.domain.expiry import expiry, must_stop
from dayfly.domain.lifecycle import Desired, Phase
from dayfly.domain.plan import PlannedStep, plan_creation
from dayfly.engine.step import Step
from dayfly.errors import ContainerExited, DockerUnavailable, Expired
from dayfly.reconcile.endings import Endings
from dayfly.reconcile.journal import Journal
from dayfly.reconcile.patience import Patience, until_engine_answers
from dayfly.reconcile.recovery import Lost, Recovery
from dayfly.reconcile.scene import Scene
from dayfly.reconcile.stagger import Stagger
from dayfly.reconcile.walk import EngineAway, StepFailed, Undermined, Walk
from dayfly.store import Claim


@dataclass(frozen=True)
class Reconciler:
    """Decides what a cluster needs and has it done."""

    scene: Scene
    steps: Mapping[str, Step]
    endings: Endings
    recovery: Recovery
    stagger: Stagger
    patience: Patience

    async def reconcile(self, claim: Claim) -> float | None:
        """One pass; the seconds until another is due, or None when one is due only if somebody wants something.

        Raises LeaseLost. May be cancelled at any await: the next pass goes on from what is so in the world.
        """
        cluster = claim.cluster
        if cluster.desired is Desired.ABSENT:
            return await self.endings.delete(claim)
        await self._warn(claim)
        match cluster.phase:
            case Phase.PENDING:
                # Not yet admitted: its turn comes by the queue (admission.py).
                return await self._provision(claim) if cluster.reserved else None
            case Phase.PROVISIONING:
                return await self._provision(claim)
            case Phase.READY:
                return await self._tend(claim)
            case Phase.FAILED:
                return await self.endings.tend_failed(claim)
        return None

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

    async def _tend(self, claim: Claim) -> float | None:
        """A ready cluster: is it whole, and is it to go on?"""
        cluster = claim.cluster
        if must_stop(cluster, claim.at) and (end := expiry(cluster)) is not None:
            return await self.endings.fail(claim, Expired(f"{end.story}; a hold keeps its machines, stopped"))
        try:
            recovering = await self.recovery.begin(claim)
        except Lost as lost:
            return await self.endings.fail(claim, lost.error, node=lost.node)
        except DockerUnavailable:
            # Nothing is known to be wrong. All clusters are looked at as soon as the engine answers (watcher.py).
            return None
        return await self._provision(recovering) if recovering is not None else None

    async def _provision(self, claim: Claim) -> float | None:
        cluster, store = claim.cluster, self.scene.store
        if cluster.phase is Phase.PENDING:
            secrets = self.scene.new_secrets(cluster)
            cluster = await store.set_phase(claim, Phase.PROVISIONING, secrets=secrets)
        else:
            secrets = await self.scene.secrets(claim)

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
            await self.recovery.prepare(claim)
            async with Journal.open(store, claim, self.scene.clock) as journal:
                walk = Walk(self.steps, self.scene.contexts(cluster, secrets), journal, self.patience, self.stagger)
                await walk.run(plan_creation(cluster.spec), publish)
            if await self.recovery.lost_meanwhile(claim):
                return 0.0
        except Undermined as trouble:
            return await self._again(claim, trouble.failure)
        except StepFailed as failure:
            return await self.endings.fail(claim, failure.error, step=failure.step, node=failure.node)
        except Lost as lost:
            return await self.endings.fail(claim, lost.error, node=lost.node)
        except (EngineAway, DockerUnavailable):
            # A wait with a reason, which the step has told. Afterwards from the start: what was done may be undone.
            await until_engine_answers(self.scene.drivers.engine, self.scene.clock)
            return 0.0
        if cluster.ready_at is not None:
            await store.append_event(claim, NewEvent("cluster.recovered", "everything runs again"))
        await store.set_phase(claim, Phase.READY)
        return None

    async def _again(self, claim: Claim, failure: StepFailed) -> float | None:
        """Another pass from the start, unless there were too many of late."""
        try:
            await self.recovery.undermined(claim, failure.error)
        except Lost as lost:
            return await self.endings.fail(claim, lost.error, step=failure.step, node=lost.node or failure.node)
        except DockerUnavailable:
            await until_engine_answers(self.scene.drivers.engine, self.scene.clock)
        return 0.0
