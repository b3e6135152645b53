"""Takes snapshots of ready clusters: as a template, as a checkpoint, or for hibernation. Machines are paused meanwhile.

The record says `paused` before the first machine is paused, until all run again with correct clocks, and a caller's
cluster was seen to be ready since. So a worker may die at any instruction, and setting a clock may fail:
the next pass finds a paused cluster, resumes it, and starts again.
Not here: when a snapshot is taken (ready.py), and how it is restored (steps/restore.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from dayfly.controllers.cluster.context import ClusterContext
from dayfly.domain.checkpoint import Checkpoint, CheckpointPhase
from dayfly.domain.cluster.boot_source import HIBERNATION, TEMPLATE, BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent, Purpose
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.errors import DayflyError, Failure, InvalidRequest, StepTimeout
from dayfly.steps.guest.close_ssh import close_ssh
from dayfly.steps.guest.quiesce import quiesce
from dayfly.steps.guest.wait_idle import wait_idle
from dayfly.steps.ready import Ready
from dayfly.steps.vm import snapshot_files
from dayfly.steps.vm.pause_resume import ResumeResult, pause_all, resume_all, stop_paused
from dayfly.store import Claim

_log = structlog.get_logger(__name__)

_SSH_ENDS_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 11.0
"""Longer than the pause between two renewals of a node's lease: a fork's kubelets renew theirs at once, and the fork is
ready as soon as they have (steps/ready.py)."""
_MIB: Final = 1 << 20
_CLOCK_EVENTS: Final = frozenset({"cluster.resumed", "cluster.checkpoint", "phase"})
"""Events after which late clocks have another cause than before."""
_SOONEST_SECONDS: Final = 5.0
_LATEST_SECONDS: Final = 300.0
"""The first and the longest pause between two attempts to set a clock."""


@dataclass(frozen=True)
class Snapshots:
    """Every method may raise LeaseLost and InfrastructureError."""

    context: ClusterContext

    async def resume(self, claim: Claim) -> Claim:
        """Resume paused machines, set their clocks, and wait until the cluster is ready.

        Machines that cannot be resumed are stopped, and recovery.py boots them from their disks. The record says
        `paused` until all machines run with correct clocks and are ready; otherwise the cluster is due again in
        seconds_until_clocks().
        """
        context = self.context
        began = context.clock.monotonic()
        resumed = await self._resume_all(claim.cluster)
        if resumed.stuck is not None:
            return await self._stuck(claim, resumed.stuck)
        if resumed.late is not None:
            return await self._late(claim, resumed.late, "a clock cannot be set yet")
        if (problem := await self._not_ready(claim)) is not None:
            await context.store.status.save_evidence(claim, problem.evidence)
            return await self._late(claim, problem, "the cluster is not ready again")
        seconds = round(context.clock.monotonic() - began, 3)
        await context.store.status.append_event(
            claim, NewEvent("cluster.resumed", "its machines are resumed", seconds=seconds)
        )
        return replace(claim, cluster=await context.store.provisioning.set_paused(claim, paused=False))

    async def seconds_until_clocks(self, claim: Claim) -> float:
        """The back-off before a resumed cluster is completed: the time since the first attempt, within bounds."""
        since = await self._late_since(claim.cluster)
        late = 0.0 if since is None else (claim.at - since).total_seconds()
        return min(max(late, _SOONEST_SECONDS), _LATEST_SECONDS)

    async def template(self, claim: Claim) -> int:
        """Wait until the guests are idle, and save the builder as its template; bytes on disk.

        Raises DayflyError where that fails.
        """
        cluster, context = claim.cluster, self.context
        topology, limits = context.topology(cluster), await context.limits(cluster)
        words = f"its snapshot waits until its guests are idle, {limits.wait_idle:.0f} s at most"
        await context.store.status.append_event(claim, NewEvent("step.progress", words, "snapshot"))
        busy = await wait_idle(context.drivers.machines, topology, cluster.spec, context.clock, limits)
        if busy is not None:
            words = f"guests are still busy after {limits.wait_idle:.0f} s, and saved so: {busy}"
            await context.store.status.append_event(claim, NewEvent("step.progress", words, "snapshot"))
        await context.clock.sleep(_SSH_ENDS_SECONDS)
        await context.store.provisioning.set_paused(claim, paused=True)
        if cluster.spec.manifest.kubernetes is not None:
            await quiesce(context.drivers.machines, topology, timeout=limits.command)
            await context.clock.sleep(_LEASE_SECONDS)
        return await snapshot_files.save(
            context.drivers,
            topology,
            TEMPLATE,
            ram="shared",
            disk=True,
            fence=cluster.fence,
            timeout=limits.save,
            on_size=partial(context.store.template_builds.growing, claim),
        )

    async def checkpoint(self, claim: Claim, checkpoint: Checkpoint) -> None:
        """Take it, or (phase deleting) remove it. One that fails leaves no record; the events give the reason.

        Afterwards machines may be paused, clocks late, or nodes not seen since: then the record says `paused`.
        """
        origin = BootSource("checkpoint", checkpoint.name)
        if checkpoint.phase is CheckpointPhase.DELETING:
            await self._discard(claim.cluster, origin)
            await self.context.store.checkpoints.gone(claim, checkpoint.name)
            return
        began = self.context.clock.monotonic()
        try:
            report = partial(self.context.store.checkpoints.growing, claim, checkpoint.name)
            size = await self._save(claim, origin, disk=True, on_size=report)
        except (Failure, InvalidRequest) as error:
            await self._record(claim, "cluster.checkpoint", f"checkpoint {checkpoint.name} failed", error)
            await self._try_discard(claim.cluster, origin)
            await self.context.store.checkpoints.gone(claim, checkpoint.name)
            return
        if await self._resume_all(claim.cluster) == ResumeResult() and not _must_be_seen(claim.cluster):
            await self.context.store.provisioning.set_paused(claim, paused=False)
        seconds = round(self.context.clock.monotonic() - began, 3)
        words = f"checkpoint {checkpoint.name} is ready, {size / _MIB:.0f} MiB"
        await self.context.store.status.append_event(claim, NewEvent("cluster.checkpoint", words, seconds=seconds))
        await self.context.store.checkpoints.made(claim, checkpoint.name, size)

    async def hibernate(self, claim: Claim) -> bool:
        """False where the snapshot failed: the cluster is paused, nothing is stopped; the events give the reason."""
        began = self.context.clock.monotonic()
        try:
            size = await self._save(claim, HIBERNATION, disk=False)
        except (Failure, InvalidRequest) as error:
            await self._record(claim, "cluster.hibernated", "it cannot hibernate", error)
            await self._try_discard(claim.cluster, HIBERNATION)
            return False
        seconds = round(self.context.clock.monotonic() - began, 3)
        words = f"its memory is saved, {size / _MIB:.0f} MiB"
        # Before anything is stopped: stopped containers of a ready cluster count as damage.
        event = NewEvent("cluster.hibernated", words, seconds=seconds)
        await self.context.store.status.set_phase(claim, Phase.HIBERNATED, event=event)
        await self.stop(claim)
        return True

    async def stop(self, claim: Claim) -> None:
        """Stop every container of a hibernated cluster, the network's last."""
        engine, cluster = self.context.drivers.engine, claim.cluster
        running = [status for status in await engine.list_containers(cluster.id) if status.state == "running"]
        for status in sorted(running, key=lambda status: status.role == "net"):
            await engine.stop(status.name)
        if cluster.paused or cluster.phase is not Phase.HIBERNATED:
            await self.context.store.provisioning.set_paused(claim, paused=False)

    async def pause(self, claim: Claim) -> None:
        """Pause a pool member. Recorded only afterwards: from then on callers may claim it."""
        await pause_all(self.context.drivers.machines, self.context.topology(claim.cluster))
        await self.context.store.provisioning.set_paused(claim, paused=True)

    async def _save(
        self,
        claim: Claim,
        origin: BootSource,
        *,
        disk: bool,
        on_size: Callable[[int], Awaitable[None]] | None = None,
    ) -> int:
        cluster, drivers, fence = claim.cluster, self.context.drivers, claim.cluster.fence
        topology, limits = self.context.topology(cluster), await self.context.limits(cluster)
        await self.context.store.provisioning.set_paused(claim, paused=True)
        await pause_all(drivers.machines, topology)
        # Parts of an earlier attempt are of another moment.
        await snapshot_files.discard(drivers.machines, topology, origin, fence=fence)
        if disk:
            await snapshot_files.save_registry(drivers.engine, topology, origin, fence=fence, timeout=limits.save)
        return await snapshot_files.save(
            drivers, topology, origin, ram="whole", disk=disk, fence=fence, timeout=limits.save, on_size=on_size
        )

    async def _resume_all(self, cluster: Cluster) -> ResumeResult:
        context, limits = self.context, await self.context.limits(cluster)
        return await resume_all(
            context.drivers.machines, context.topology(cluster), context.clock, timeout=limits.command
        )

    async def _not_ready(self, claim: Claim) -> DayflyError | None:
        """Why a cluster of resumed machines is not ready. Only what its nodes answer or report from now on counts.

        A cluster that does not become ready is not failed: its caller may have broken a node on purpose.
        """
        if not _must_be_seen(claim.cluster):
            return None
        # Without a boot source, as after a recovery: what the caller changed in the cluster stays.
        cluster, step = replace(claim.cluster, boot_source=None), Ready()
        secrets = await self.context.secrets(claim)
        make = self.context.step_contexts(cluster, secrets)
        try:
            context = await make(PlannedStep("ready"), lambda _: None)
            limit = step.limit(context.limits)
            async with asyncio.timeout(limit):
                await step.apply(context)
        except TimeoutError:
            return StepTimeout(f"not ready after {limit:.0f} s, the limit")
        except Failure as error:
            return error
        finally:
            if cluster.spec.idle_seconds is not None:
                # Kept connections would count as traffic.
                await close_ssh(self.context.drivers, cluster, secrets)
        return None

    async def _late(self, claim: Claim, error: DayflyError, why: str) -> Claim:
        """All machines run, and a caller may use them; only clocks are to be set, or nodes to be seen."""
        if await self._late_since(claim.cluster) is None:
            await self._record(claim, "cluster.resumed", f"its machines are resumed, but {why}", error)
        # Also where the record did not say `paused` before.
        return replace(claim, cluster=await self.context.store.provisioning.set_paused(claim, paused=True))

    async def _late_since(self, cluster: Cluster) -> datetime | None:
        """When the event of a late clock or node was recorded; None: not since the machines were last paused."""
        event = await self.context.store.clusters.last_event(cluster.id, _CLOCK_EVENTS)
        return None if event is None or event.code is None or event.type != "cluster.resumed" else event.at

    async def _stuck(self, claim: Claim, error: DayflyError) -> Claim:
        cluster, context = claim.cluster, self.context
        await self._record(claim, "cluster.fallback", "machines that cannot be resumed boot from their disks", error)
        await stop_paused(context.drivers, context.topology(cluster), cluster.id)
        # Still `paused`: once all run again, their clocks are checked.
        return replace(claim, cluster=await context.store.provisioning.set_paused(claim, paused=True))

    async def _discard(self, cluster: Cluster, origin: BootSource) -> None:
        context = self.context
        await snapshot_files.discard(context.drivers.machines, context.topology(cluster), origin, fence=cluster.fence)

    async def _try_discard(self, cluster: Cluster, origin: BootSource) -> None:
        try:
            await self._discard(cluster, origin)
        except DayflyError as error:
            # The next snapshot in this folder discards it first.
            _log.warning("an incomplete snapshot is left", cluster=cluster.id, folder=origin.folder, code=error.code)

    async def _record(self, claim: Claim, type_: str, words: str, error: DayflyError) -> None:
        _log.warning(words, cluster=claim.cluster.id, code=error.code, reason=error.for_operator)
        await self.context.store.status.append_event(
            claim, NewEvent(type_, f"{words}: {error.message}", code=error.code)
        )


def _must_be_seen(cluster: Cluster) -> bool:
    """Whether the cluster must be seen to be ready after a pause: its Kubernetes, or without it SSH on every node.

    Not where a reset or a hibernation is due: it is not ready until then, and does not wait for its nodes.
    """
    goes_on = cluster.desired is Desired.PRESENT and cluster.reset_to is None
    return goes_on and cluster.purpose is Purpose.CLUSTER
