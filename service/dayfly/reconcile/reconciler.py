"""One pass on one claimed cluster: compares what is wanted with what is, and acts until nothing is left to do now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.domain.cluster import Cluster, Endpoint, Fault, NewEvent
from dayfly.domain.lifecycle import Desired, Phase
from dayfly.domain.limits import Accelerator, limits_for
from dayfly.domain.plan import PlannedStep, plan_creation
from dayfly.domain.secrets import ClusterSecrets, new_secrets
from dayfly.domain.topology import Publication, Topology, compute_topology
from dayfly.drivers.protocols import Drivers
from dayfly.engine.step import Step, StepContext
from dayfly.engine.teardown import collect_evidence, remove_everything
from dayfly.errors import DayflyError
from dayfly.reconcile.journal import Journal
from dayfly.reconcile.walk import ContextFactory, Patience, StepFailed, Walk
from dayfly.store import Claim, Store

_log = structlog.get_logger(__name__)

_CLEANUP_RETRY_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Installation:
    """What every cluster of this installation has in common. `advertised` is the host part of endpoints for callers."""

    instance: str
    publication: Publication
    advertised: str
    boot_limit_seconds: float | None = None


class Reconciler:
    """Decides what a cluster needs and has it done."""

    def __init__(
        self,
        store: Store,
        drivers: Drivers,
        steps: Mapping[str, Step],
        installation: Installation,
        accelerator: Callable[[str], Awaitable[Accelerator]],
        patience: Patience,
        clock: Clock,
    ) -> None:
        """`accelerator` says, for an image's id, what its machines run on; it may take seconds the first time."""
        self._store, self._drivers, self._steps = store, drivers, steps
        self._installation, self._accelerator = installation, accelerator
        self._patience, self._clock = patience, clock

    async def reconcile(self, claim: Claim) -> float | None:
        """One pass; the seconds until another is due, or None when one is due only if somebody wants something.

        Raises LeaseLost. May be cancelled at any await: the next pass goes on from what is so in the world.
        """
        cluster = claim.cluster
        if cluster.desired is Desired.ABSENT:
            return await self._delete(claim)
        if cluster.phase in {Phase.PENDING, Phase.PROVISIONING}:
            return await self._provision(claim)
        if cluster.phase is Phase.FAILED:
            return await self._clear(cluster)
        return None

    async def _provision(self, claim: Claim) -> float | None:
        cluster = claim.cluster
        if cluster.phase is Phase.PENDING:
            cluster = await self._store.set_phase(claim, Phase.PROVISIONING)
        secrets = await self._secrets(claim)

        async def publish(done: PlannedStep) -> None:
            # Callers see a cluster's ports as soon as there are any, not only when it is ready.
            if done.name == "sandbox":
                await self._store.set_endpoints(claim, await self._advertised_endpoints(cluster))

        try:
            async with Journal.open(self._store, claim, self._clock) as journal:
                walk = Walk(self._steps, self._contexts(cluster, secrets), journal, self._patience, self._clock)
                await walk.run(plan_creation(cluster.spec), publish)
        except StepFailed as failure:
            return await self._fail(claim, failure)
        await self._store.set_phase(claim, Phase.READY)
        return None

    async def _fail(self, claim: Claim, failure: StepFailed) -> float | None:
        """Keep the evidence, name the failure, and hold no running VM."""
        topology = self._topology(claim.cluster, "tcg")  # for the containers' names alone
        left = await collect_evidence(self._drivers.engine, topology)
        # The step's own evidence stands beside what the containers left: it is of the moment when it failed.
        evidence = {
            **left,
            **{f"{failure.step}/{name}": text for name, text in failure.error.evidence.items()},
        }
        await self._store.save_evidence(claim, evidence)
        # Cleared away before it is called failed, so that whoever sees the phase finds nothing running.
        due = await self._clear(claim.cluster)
        fault = Fault(failure.error.code, failure.error.message, failure.step, failure.node)
        await self._store.set_phase(claim, Phase.FAILED, fault=fault)
        _log.warning("cluster failed", cluster=claim.cluster.id, code=fault.code, step=fault.step, node=fault.node)
        return due

    async def _clear(self, cluster: Cluster) -> float | None:
        """Remove what a failed cluster still has; again later where the engine is away."""
        try:
            await remove_everything(self._drivers.engine, cluster.id)
        except DayflyError as error:
            _log.warning("cannot clear away a failed cluster yet", cluster=cluster.id, code=error.code)
            return _CLEANUP_RETRY_SECONDS
        return None

    async def _delete(self, claim: Claim) -> float | None:
        cluster = claim.cluster
        if cluster.phase is Phase.DELETED:
            return None
        if cluster.phase is not Phase.DELETING:
            if cluster.expires_at is not None and cluster.expires_at <= self._clock.now():
                await self._store.append_event(claim, NewEvent("cluster.expired", "its time to live is over"))
            await self._store.set_phase(claim, Phase.DELETING)
        began = self._clock.monotonic()
        try:
            await remove_everything(self._drivers.engine, cluster.id)
        except DayflyError as error:
            message = f"cannot be removed yet: {error.message}"
            await self._store.append_event(claim, NewEvent("step.waiting", message, "teardown", code=error.code))
            return _CLEANUP_RETRY_SECONDS
        seconds = round(self._clock.monotonic() - began, 3)
        await self._store.append_event(
            claim, NewEvent("step.done", "every container is gone", "teardown", seconds=seconds)
        )
        await self._store.set_phase(claim, Phase.DELETED)
        return None

    async def _secrets(self, claim: Claim) -> ClusterSecrets:
        """The cluster's secrets, made on the first pass."""
        known = await self._store.secrets(claim.cluster.id)
        if known is not None:
            return known
        fresh = new_secrets(claim.cluster.spec, self._clock.now())
        await self._store.save_secrets(claim, fresh)
        return fresh

    def _topology(self, cluster: Cluster, accelerator: Accelerator) -> Topology:
        return compute_topology(
            cluster.id,
            cluster.spec,
            instance=self._installation.instance,
            accelerator=accelerator,
            publication=self._installation.publication,
            generation=cluster.generation,
        )

    async def _advertised_endpoints(self, cluster: Cluster) -> Mapping[int, Endpoint]:
        bound = await self._drivers.engine.endpoints(cluster.id)
        return {port: Endpoint(self._installation.advertised, where.port) for port, where in bound.items()}

    def _contexts(self, cluster: Cluster, secrets: ClusterSecrets) -> ContextFactory:
        async def context(planned: PlannedStep, progress: Callable[[str], None]) -> StepContext:
            accelerator = await self._accelerator(cluster.spec.image_id)
            return StepContext(
                cluster=cluster,
                secrets=secrets,
                topology=self._topology(cluster, accelerator),
                drivers=self._drivers,
                limits=limits_for(accelerator, self._installation.boot_limit_seconds),
                clock=self._clock,
                progress=progress,
                node=None if planned.node is None else cluster.spec.nodes()[planned.node - 1],
            )

        return context
