"""The context of a pass on one cluster: its topology, its secrets, and the contexts of its steps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from dayfly.clock import Clock
from dayfly.controllers.cluster.plan_runner import ContextFactory
from dayfly.domain.cluster.model import Cluster, Endpoint, Purpose
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator, TimeLimits, limits_for
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.domain.registry_cache import RegistryCache
from dayfly.domain.security.secrets import ClusterSecrets, new_secrets
from dayfly.domain.template import template_key
from dayfly.drivers.interfaces import Drivers, PressureGauge
from dayfly.steps.step import StepContext
from dayfly.store import Claim, Store


@dataclass(frozen=True)
class Installation:
    """What every cluster of this installation has in common.

    `advertised`: the host part of endpoints for callers. `processor`: identifies the host's processor, for machines on
    KVM.
    """

    instance: str
    publication: Publication
    advertised: str
    boot_limit_seconds: float | None = None
    processor: str = ""
    caches: tuple[RegistryCache, ...] = ()


@dataclass(frozen=True)
class ClusterContext:
    """`accelerator`: image id → accelerator of its machines; the first call may take seconds."""

    store: Store
    drivers: Drivers
    installation: Installation
    accelerator: Callable[[str], Awaitable[Accelerator]]
    gauge: PressureGauge
    clock: Clock

    def topology(self, cluster: Cluster, accelerator: Accelerator = "tcg") -> Topology:
        """The containers of `cluster`. Their names and labels are the same with any accelerator."""
        return compute_topology(
            cluster.id,
            cluster.spec,
            instance=self.installation.instance,
            accelerator=accelerator,
            publication=self.installation.publication,
            generation=cluster.generation,
            template_id=cluster.template_id,
            makes_template=cluster.purpose is Purpose.TEMPLATE,
            caches=self.installation.caches,
        )

    async def limits(self, cluster: Cluster) -> TimeLimits:
        """The time limits of this cluster. Raises ImageMissing, EngineUnavailable."""
        return limits_for(await self.accelerator(cluster.spec.image_id), self.installation.boot_limit_seconds)

    async def template_key(self, spec: ClusterSpec, owner: str) -> str:
        """The key of templates that can serve `spec`. Raises ImageMissing, EngineUnavailable."""
        return template_key(spec, owner, await self.accelerator(spec.image_id), self.installation.processor)

    def new_secrets(self, cluster: Cluster) -> ClusterSecrets:
        """New secrets, for a cluster that begins."""
        return new_secrets(cluster.spec, self.clock.now(), self.installation.advertised)

    async def secrets(self, claim: Claim) -> ClusterSecrets:
        """The cluster's secrets; created now, where a worker of an older version died before it did."""
        known = await self.store.clusters.secrets(claim.cluster.id)
        if known is not None:
            return known
        fresh = self.new_secrets(claim.cluster)
        await self.store.status.save_secrets(claim, fresh)
        return fresh

    async def advertised_endpoints(self, cluster: Cluster) -> Mapping[int, Endpoint]:
        """The cluster's ports as callers reach them. Raises EngineUnavailable."""
        bound = await self.drivers.engine.endpoints(cluster.id)
        return {port: Endpoint(self.installation.advertised, where.port) for port, where in bound.items()}

    def step_contexts(self, cluster: Cluster, secrets: ClusterSecrets) -> ContextFactory:
        """A factory of contexts for one pass over this cluster's steps, which begins now."""
        began = self.clock.monotonic()

        async def context(planned: PlannedStep, progress: Callable[[str], None]) -> StepContext:
            accelerator = await self.accelerator(cluster.spec.image_id)
            return StepContext(
                cluster=cluster,
                secrets=secrets,
                topology=self.topology(cluster, accelerator),
                drivers=self.drivers,
                limits=limits_for(accelerator, self.installation.boot_limit_seconds),
                accelerator=accelerator,
                clock=self.clock,
                progress=progress,
                advertised=self.installation.advertised,
                node=None if planned.node is None else cluster.spec.nodes()[planned.node - 1],
                began=began,
            )

        return context
