"""What a ready or hibernated cluster needs next: repair, snapshot, reset, hibernation, add-ons, or nothing.

Not here: how snapshots are taken (snapshots.py), and how damage is repaired (recovery.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import structlog

from dayfly.controllers.cluster.addons import AddonController, has_due_addons
from dayfly.controllers.cluster.boot_source import BootSources
from dayfly.controllers.cluster.context import ClusterContext
from dayfly.controllers.cluster.finalize import Finalizer
from dayfly.controllers.cluster.outcome import Done, Outcome, Provision, RequeueAfter
from dayfly.controllers.cluster.recovery import Lost, Recovery
from dayfly.controllers.cluster.retry import RetryPolicy
from dayfly.controllers.cluster.snapshots import Snapshots
from dayfly.domain.cluster.expiry import IDLE_LOOKS, expiry, must_hibernate, must_stop, next_look
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, NewEvent, Purpose
from dayfly.errors import CommandFailed, Conflict, EngineUnavailable, Expired, Failure, InvalidRequest, VmExited
from dayfly.steps.guest.close_ssh import close_ssh
from dayfly.steps.observe.traffic import packets_from_outside
from dayfly.steps.vm.pause_resume import PAUSED, vm_states
from dayfly.store import Claim

_log = structlog.get_logger(__name__)

_PAUSED_STATES: Final = frozenset({PAUSED, "postmigrate"})
"""QEMU's names of machines that were paused, or saved."""


def has_more_to_do(cluster: Cluster) -> bool:
    """Whether a cluster that has just become ready needs another pass at once."""
    requests = cluster.desired is not Desired.PRESENT or cluster.reset_to is not None or cluster.paused
    if cluster.purpose is not Purpose.CLUSTER:
        return True
    return requests or cluster.spec.idle_seconds is not None or has_due_addons(cluster)


@dataclass(frozen=True)
class ReadyController:
    """Reconciles ready and hibernated clusters."""

    context: ClusterContext
    finalizer: Finalizer
    recovery: Recovery
    boot_sources: BootSources
    snapshots: Snapshots
    addons: AddonController
    retry_policy: RetryPolicy

    async def tend(self, claim: Claim) -> Outcome | Provision:
        """A ready cluster."""
        try:
            return await self._tend(claim)
        except Lost as lost:
            return await self.finalizer.fail(claim, lost.error, node=lost.node)

    async def tend_hibernated(self, claim: Claim) -> Outcome:
        """Stop what still runs; queue a cluster that is to resume. Raises LeaseLost."""
        await self.snapshots.stop(claim)
        if claim.cluster.desired is Desired.PRESENT:
            await self.context.store.status.set_phase(claim, Phase.PENDING)
        return Done()

    async def _tend(self, claim: Claim) -> Outcome | Provision:
        # First: paused machines do not answer, and would count as damaged.
        if claim.cluster.purpose is not Purpose.POOL_MEMBER and await self._is_paused(claim.cluster):
            claim = await self.snapshots.resume(claim)
        cluster = claim.cluster
        if must_stop(cluster, claim.at) and (end := expiry(cluster)) is not None:
            return await self.finalizer.fail(claim, Expired(f"{end.story}; a hold keeps its machines, stopped"))
        try:
            recovering = await self.recovery.begin(claim)
        except EngineUnavailable:
            if has_more_to_do(cluster) or await self.context.store.checkpoints.due(cluster.id):
                raise
            # No damage is known. All clusters are checked when the engine answers (controllers/engine_events.py).
            return Done()
        if recovering is not None:
            return Provision(recovering)
        then = await self._next(claim)
        if cluster.purpose is Purpose.POOL_MEMBER or not cluster.paused or isinstance(then, Provision):
            return then
        return await self._before_clocks(claim, then)

    async def _before_clocks(self, claim: Claim, then: Outcome) -> RequeueAfter:
        """When a cluster with late clocks is due: when they are tried again, or earlier for another reason."""
        seconds = [await self.snapshots.seconds_until_clocks(claim)]
        if then.seconds is not None:
            seconds.append(then.seconds)
        if (planned := next_look(replace(claim.cluster, paused=False), claim.at)) is not None:
            seconds.append(max(0.0, (planned - claim.at).total_seconds()))
        return RequeueAfter(min(seconds))

    async def _is_paused(self, cluster: Cluster) -> bool:
        """Whether machines are paused: on record, or by a late call of a worker that lost its lease."""
        if cluster.paused:
            return True
        try:
            found = await vm_states(self.context.drivers, self.context.topology(cluster), cluster.id)
        except EngineUnavailable:
            return False  # the caller handles the outage
        return not _PAUSED_STATES.isdisjoint(found.values())

    async def _next(self, claim: Claim) -> Outcome | Provision:
        """The next action of an intact cluster."""
        cluster, store = claim.cluster, self.context.store
        # Before a reset, which would lose the content that the checkpoint is to keep.
        if due := await store.checkpoints.due(cluster.id):
            await self.snapshots.checkpoint(claim, due[0])
            return RequeueAfter(0.0)
        if cluster.reset_to is not None:
            return Provision(await self.boot_sources.reset(claim, cluster.reset_to))
        match cluster.purpose:
            case Purpose.TEMPLATE:
                return await self._template(claim)
            case Purpose.VERIFICATION:
                await store.template_builds.verified(claim)
            case Purpose.POOL_MEMBER:
                return await (self._check_member(claim) if cluster.paused else self._pause(claim))
            case Purpose.CLUSTER:
                return await self._of_caller(claim)
        return Done()

    async def _of_caller(self, claim: Claim) -> Outcome:
        cluster = claim.cluster
        if cluster.desired is Desired.HIBERNATED:
            return await self._hibernate(claim)
        if must_hibernate(cluster, claim.at):
            return await self._request_hibernation(claim)
        if has_due_addons(cluster) and not cluster.paused:
            return await self.addons.converge(claim)
        return await self._check_idle(claim)

    async def _pause(self, claim: Claim) -> Outcome:
        try:
            await self.snapshots.pause(claim)
        except Failure as error:
            return await self.finalizer.fail(claim, error)  # the pool replaces it
        return Done()

    async def _check_member(self, claim: Claim) -> Outcome:
        """Fail a member whose machines are not all paused."""
        topology = self.context.topology(claim.cluster)
        try:
            found = await vm_states(self.context.drivers, topology, claim.cluster.id)
        except Failure as error:
            return await self.finalizer.fail(claim, error)
        for container in topology.nodes:
            if (state := found[container.name]) != PAUSED:
                broken = VmExited(f"{container.name} is {state}; a pool member must be {PAUSED}")
                return await self.finalizer.fail(claim, broken, node=container.node)  # the pool replaces it
        return Done()

    async def _template(self, claim: Claim) -> Outcome:
        """Take the snapshot of a builder, with retries; then fail."""
        attempt = 1
        while True:
            try:
                size = await self.snapshots.template(claim)
            except (Failure, InvalidRequest) as error:
                if not error.retryable or attempt >= self.retry_policy.attempts:
                    return await self.finalizer.fail(claim, error, step="snapshot")
                told = NewEvent("step.retry", f"the snapshot failed: {error.message}", "snapshot", code=error.code)
                await self.context.store.status.append_event(claim, told)
                await self.context.clock.sleep(self.retry_policy.backoff(attempt))
                await self.snapshots.resume(claim)
                attempt += 1
            else:
                await self.context.store.template_builds.saved(claim, size)
                return Done()

    async def _hibernate(self, claim: Claim) -> Outcome:
        if await self.snapshots.hibernate(claim):
            return Done()
        # The next pass resumes it. The request is withdrawn: it would fail again.
        if must_hibernate(claim.cluster, claim.at) and (end := expiry(claim.cluster)) is not None:
            words = f"{end.story}; it cannot hibernate, and a hold keeps its machines stopped"
            return await self.finalizer.fail(claim, Expired(words))
        await self.context.store.provisioning.saw_traffic(claim, claim.cluster.traffic)
        await self.context.store.lifecycle.resume(claim.cluster.id)
        return RequeueAfter(0.0)

    async def _request_hibernation(self, claim: Claim) -> Outcome:
        try:
            await self.context.store.lifecycle.hibernate(claim.cluster.id)
        except Conflict as conflict:
            # Another request came first.
            _log.info("not hibernated", cluster=claim.cluster.id, reason=conflict.message)
        return RequeueAfter(0.0)

    async def _check_idle(self, claim: Claim) -> Outcome:
        """Hibernate a cluster without traffic for `idle_seconds`; else look again later."""
        cluster, store, idle = claim.cluster, self.context.store, claim.cluster.spec.idle_seconds
        if idle is None:
            return Done()
        try:
            packets = await packets_from_outside(self.context.drivers.engine, self.context.topology(cluster))
        except CommandFailed as error:
            # Unknown until the next look.
            _log.warning("traffic cannot be counted", cluster=cluster.id, reason=error.for_operator)
            return RequeueAfter(idle / IDLE_LOOKS)
        if packets is None:
            _log.warning("traffic cannot be counted: the cluster never counts as idle", cluster=cluster.id)
        if packets is None or packets != cluster.traffic:
            # Dayfly's own kept SSH connections cause traffic: close them.
            if (secrets := await store.clusters.secrets(cluster.id)) is not None:
                await close_ssh(self.context.drivers, cluster, secrets)
            cluster = await store.provisioning.saw_traffic(claim, packets or 0)
        since = cluster.active_at or cluster.ready_at or cluster.created_at
        quiet = (claim.at - since).total_seconds()
        if quiet < idle:
            return RequeueAfter(min(idle - max(0.0, quiet), idle / IDLE_LOOKS))
        await store.status.append_event(claim, NewEvent("cluster.idle", f"no traffic for {quiet:.0f} s"))
        return await self._request_hibernation(claim)
