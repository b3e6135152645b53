"""A trial boot: one node of an image, without any database, to see whether the image may be used."""

from __future__ import annotations

import asyncio
import secrets as random
from collections.abc import Callable

from dayfly.clock import Clock
from dayfly.domain.cluster import Cluster
from dayfly.domain.image import ImageManifest
from dayfly.domain.lifecycle import Desired, Phase
from dayfly.domain.limits import Accelerator, limits_for
from dayfly.domain.secrets import new_secrets
from dayfly.domain.spec import ClusterSpec
from dayfly.domain.topology import Publication, compute_topology
from dayfly.drivers.protocols import Drivers
from dayfly.engine.boot import Boot
from dayfly.engine.sandbox import Sandbox
from dayfly.engine.step import StepContext
from dayfly.engine.teardown import remove_everything
from dayfly.errors import ImageBroken


async def trial_boot(
    drivers: Drivers,
    image_id: str,
    manifest: ImageManifest,
    *,
    instance: str,
    accelerator: Accelerator,
    clock: Clock,
    progress: Callable[[str], None],
) -> None:
    """Boot one node of the image at its default size, run the manifest's `verify` commands on it, and remove it.

    Raises ImageBroken with the command's output, or whatever the boot raised. Leaves nothing behind in any case.
    """
    spec = ClusterSpec(
        image=manifest.recipe,
        image_id=image_id,
        manifest=manifest,
        control_plane=manifest.control_plane,
        worker=manifest.worker,
        readiness="booted",
    )
    now = clock.now()
    cluster = Cluster(
        id=f"0{random.token_hex(6)[:11]}",
        name="trial",
        spec=spec,
        desired=Desired.PRESENT,
        phase=Phase.PROVISIONING,
        created_at=now,
        updated_at=now,
    )
    context = StepContext(
        cluster=cluster,
        secrets=new_secrets(spec, now),
        topology=compute_topology(
            cluster.id, spec, instance=instance, accelerator=accelerator, publication=Publication()
        ),
        drivers=drivers,
        limits=limits_for(accelerator),
        clock=clock,
        progress=progress,
        node=spec.nodes()[0],
    )
    try:
        for step in (Sandbox(), Boot()):
            async with asyncio.timeout(step.limit(context.limits)):
                await step.apply(context)
        await _verify(context)
    finally:
        await drivers.ssh.close()
        await asyncio.shield(remove_everything(drivers.engine, cluster.id))


async def _verify(context: StepContext) -> None:
    target = await context.ssh_target()
    for command in context.spec.manifest.verify:
        context.progress(f"verifying: {command}")
        result = await context.drivers.ssh.run(target, command, timeout=context.limits.command)
        if result.exit_code != 0:
            raise ImageBroken(
                f"verification failed with exit code {result.exit_code}: {command}",
                evidence={"output": f"{result.stdout}{result.stderr}"},
            )
