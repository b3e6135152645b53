"""Verifies a freshly baked image: boots one node of it, by the steps that create clusters.

The node belongs to an installation of its own, `<instance>.bake`, whose objects no service collects. The store has no
record of it. Not here: the steps (steps/), and the phases of a bake (images/bake.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from dayfly.clock import Clock
from dayfly.domain.bake import verification_cluster, verification_spec
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.provisioning_plan import PlannedStep, plan_steps
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator, limits_for
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.image import ImageManifest
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.host_pressure import KernelPressure
from dayfly.drivers.interfaces import Drivers
from dayfly.errors import ConformanceFailed, ImageBroken, StepTimeout
from dayfly.steps.observe.diagnostics import collect
from dayfly.steps.step import Step, StepContext
from dayfly.steps.teardown import remove_everything


@dataclass(frozen=True)
class Verifier:
    """Creates a one-node cluster of an image and runs its manifest's `verify` commands (images.bake.Verify)."""

    instance: str
    drivers: Drivers
    steps: Mapping[str, Step]
    accelerator: Accelerator
    publication: Publication
    clock: Clock

    async def __call__(
        self,
        image_id: str,
        manifest: ImageManifest,
        progress: Callable[[str], None],
        *,
        conformance: Collection[str] | None = None,
    ) -> None:
        """Raises a step's errors, and ImageBroken for a failed command. Removes the cluster in every case.

        `progress` receives sentences for people. `conformance`: the specs that run after the commands, as in BakeOrder.
        Raises ConformanceFailed for one that fails, and for an image without tests.
        """
        if conformance is not None and not (manifest.kubernetes and manifest.kubernetes.conformance):
            raise ConformanceFailed("the image has no conformance tests")
        context = self._context(verification_spec(image_id, manifest, conformance), progress)
        # Remove the cluster of an earlier bake of the recipe that was killed.
        await remove_everything(self.drivers.engine, context.cluster.id)
        try:
            await self._create(context)
            await self._run_commands(context)
            if context.spec.conformance:
                await self._apply(PlannedStep("conformance"), context)
        finally:
            await remove_everything(self.drivers.engine, context.cluster.id)

    def _context(self, spec: ClusterSpec, progress: Callable[[str], None]) -> StepContext:
        now = self.clock.now()
        cluster_id = verification_cluster(spec.manifest.recipe)
        topology = compute_topology(
            cluster_id,
            spec,
            instance=self.instance,
            accelerator=self.accelerator,
            publication=self.publication,
        )
        return StepContext(
            cluster=Cluster(cluster_id, cluster_id, spec, Desired.PRESENT, Phase.PROVISIONING, now, now),
            secrets=new_secrets(spec, now),
            topology=topology,
            drivers=self.drivers,
            limits=limits_for(self.accelerator),
            accelerator=self.accelerator,
            clock=self.clock,
            progress=progress,
        )

    async def _create(self, context: StepContext) -> None:
        for planned in plan_steps(context.spec):  # Each step follows its dependencies.
            await self._apply(planned, context)

    async def _apply(self, planned: PlannedStep, context: StepContext) -> None:
        step = self.steps[planned.name]
        node = context.spec.nodes()[planned.node - 1] if planned.node else None
        context.progress(f"step {planned.name}")
        limit = step.limit(context.limits)
        try:
            async with asyncio.timeout(limit):
                await step.apply(replace(context, node=node))
        except TimeoutError as error:
            evidence = await collect(self.drivers, context.topology, context.secrets, KernelPressure(), self.clock)
            raise StepTimeout(f"step {planned.name} took longer than {limit:.0f} s", evidence=evidence) from error

    async def _run_commands(self, context: StepContext) -> None:
        target = await context.ssh_target(context.spec.nodes()[0])
        for command in context.spec.manifest.verify:
            context.progress(command)
            result = await self.drivers.ssh.run(target, command, timeout=context.limits.command)
            if result.exit_code != 0:
                raise ImageBroken(
                    f"on a booted node, `{command}` ended with exit code {result.exit_code}",
                    evidence={"stdout": result.stdout, "stderr": result.stderr},
                )
        await self.drivers.ssh.forget(target)
