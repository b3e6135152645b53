"""Chooses the boot source of a cluster's machines: when it begins, on a reset, and when another source has failed.

Not here: how machines are restored (steps/restore.py), and how a template is built (snapshots.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import structlog

from dayfly.controllers.cluster.context import ClusterContext
from dayfly.controllers.cluster.outcome import Provision
from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.domain.cluster.model import Cluster, NewEvent, Purpose
from dayfly.domain.cluster.provisioning_plan import SHARED_STEPS
from dayfly.domain.security.secrets import fork_secrets
from dayfly.domain.template import why_not_forked
from dayfly.errors import CheckpointNotLoaded, Conflict, ConformanceFailed, DayflyError, Failure, InvalidRequest
from dayfly.steps.teardown import remove_everything
from dayfly.steps.vm.pause_resume import stop_paused
from dayfly.steps.vm.snapshot_files import empty_registry
from dayfly.store import Claim

_log = structlog.get_logger(__name__)

_EMPTY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class NotForked:
    """A cluster cannot be a fork, for `reason`."""

    reason: str


class NoOtherSource(Exception):
    """No other boot source follows the one that failed: the cluster fails with `error`."""

    def __init__(self, error: DayflyError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class BootSources:
    """Every public method returns the claim of a cluster that is provisioning."""

    context: ClusterContext

    async def begin(self, claim: Claim) -> Provision:
        """Begin an admitted cluster: from its hibernation, as a fork, or from its image.

        A claimed pool member is a fork whose machines wait, paused. Raises LeaseLost, EngineUnavailable, EngineRefused.
        """
        cluster, store = claim.cluster, self.context.store
        if cluster.ready_at is not None:
            begun = await store.provisioning.begin(claim, HIBERNATION, template_id=cluster.template_id)
            return Provision(_of(claim, begun))
        why, own = None, None
        if cluster.purpose is Purpose.TEMPLATE:
            # A builder has the volume of its template from the start.
            own = cluster.template_id
        else:
            forked = await self._fork(claim)
            if isinstance(forked, Provision):
                return forked
            why = forked.reason
            # Proves the lease before anything is removed.
            await store.status.append_event(claim, NewEvent("cluster.not_forked", f"boots from its image: {why}"))
            if cluster.template_id is not None:
                # Its machines waited in a pool, and cannot go on without a template.
                await remove_everything(self.context.drivers.engine, cluster.id)
        # Only now: a fork has other secrets, and these take a while to make.
        secrets = self.context.new_secrets(cluster)
        begun = await store.provisioning.begin(claim, IMAGE, secrets=secrets, template_id=own, not_forked=why)
        return Provision(_of(claim, begun), secrets)

    async def reset(self, claim: Claim, to: BootSource) -> Claim:
        """Reset a ready cluster. IMAGE means the pristine state, which a fork gets from its template."""
        cluster, store = claim.cluster, self.context.store
        words = "its pristine state" if to == IMAGE else f"checkpoint {to.name}"
        await store.status.append_event(claim, NewEvent("cluster.reset", f"goes back to {words}"))
        own, why = cluster.template_id, None
        if to == IMAGE and own is not None and cluster.purpose is not Purpose.TEMPLATE:
            try:
                return _of(claim, await store.provisioning.begin(claim, TEMPLATE, template_id=own, reset=True))
            except Conflict as conflict:
                why = conflict.message
                await store.status.append_event(claim, NewEvent("cluster.not_forked", f"boots from its image: {why}"))
        # It keeps its template: the disks of its checkpoints are overlays of the template's.
        return _of(claim, await store.provisioning.begin(claim, to, template_id=own, not_forked=why, reset=True))

    async def other(self, claim: Claim, error: DayflyError, step: str | None, node: str | None) -> Claim:
        """Provision from another boot source after `error` in `step`.

        Raises NoOtherSource, LeaseLost, EngineUnavailable, EngineRefused.
        """
        cluster, store = claim.cluster, self.context.store
        origin = cluster.boot_source
        if origin is None or origin == IMAGE:
            raise NoOtherSource(error)
        if isinstance(error, ConformanceFailed):
            # The specs' own result: no fault of the source, and another source would hide it.
            raise NoOtherSource(error)
        if origin == HIBERNATION:
            if step != "restore":
                raise NoOtherSource(error)
            return await self._forget_memory(claim, error)
        if origin.kind == "checkpoint":
            # Never another source: the caller requested this content.
            raise NoOtherSource(_not_loaded(origin, error) if step == "restore" else error)
        if cluster.template_id is not None and step not in SHARED_STEPS:
            await store.templates.fork_ended(cluster.template_id, ok=False)
        if cluster.purpose in {Purpose.VERIFICATION, Purpose.POOL_MEMBER} and cluster.ready_at is None:
            raise NoOtherSource(error)  # the pool or the template needs a fork
        _log.warning("falls back to the image", cluster=cluster.id, origin=str(origin), code=error.code)
        words = f"falls back from its {origin.kind} to its image: {error.message}"
        # Proves the lease before anything is removed.
        await store.status.append_event(claim, NewEvent("cluster.fallback", words, step, node, code=error.code))
        await store.status.save_evidence(
            claim, {f"{origin.kind}/{name}": text for name, text in error.evidence.items()}
        )
        own, why = cluster.template_id, f"its fork failed: {error.message}"
        if cluster.ready_at is not None:
            fresh = await store.provisioning.begin(claim, IMAGE, template_id=own, not_forked=why, reset=True)
            return _of(claim, fresh)
        await remove_everything(self.context.drivers.engine, cluster.id)
        secrets = self.context.new_secrets(cluster)
        return _of(claim, await store.provisioning.begin(claim, IMAGE, secrets=secrets, not_forked=why))

    async def _fork(self, claim: Claim) -> Provision | NotForked:
        cluster, store, template_id = claim.cluster, self.context.store, claim.cluster.template_id
        if template_id is None:
            if cluster.spec.isolation == "strict":
                return NotForked("its isolation is strict")
            try:
                key = await self.context.template_key(cluster.spec, cluster.owner)
            except (Failure, InvalidRequest) as error:
                # The step that needs the image reports the error.
                return NotForked(f"its template is unknown: {error.message}")
            found = await store.templates.find(key, cluster.owner)
            if found is None:
                templates = await store.templates.list(owner=cluster.owner)
                return NotForked(why_not_forked(cluster.spec, cluster.owner, key, templates))
            template_id = found.id
        secrets = await store.templates.secrets(template_id)
        if secrets is None:
            return NotForked(f"template {template_id} was retired")
        if cluster.template_id is not None and cluster.purpose is Purpose.CLUSTER:
            await self._empty_registry(claim)
        own = fork_secrets(secrets, self.context.clock.now())
        try:
            fresh = await store.provisioning.begin(claim, TEMPLATE, secrets=own, template_id=template_id)
        except Conflict as conflict:
            if cluster.purpose is Purpose.VERIFICATION:
                raise  # its template is retiring, and this cluster with it
            return NotForked(conflict.message)
        if cluster.template_id is None or cluster.purpose is Purpose.VERIFICATION:
            words = f"becomes a fork of template {template_id}"
            await store.status.append_event(claim, NewEvent("cluster.forked", words))
        return Provision(_of(claim, fresh), own)

    async def _empty_registry(self, claim: Claim) -> None:
        """Of a claimed member: its port was open in the pool, and its images are for the claimer's nodes."""
        cluster, engine = claim.cluster, self.context.drivers.engine
        topology = self.context.topology(cluster)
        # Proves the lease: another worker may have begun, and the caller pushed images, since this pass was suspended.
        await self.context.store.status.append_event(
            claim, NewEvent("step.progress", "the registry of the pool's member is emptied", "registry")
        )
        try:
            await empty_registry(engine, topology, fence=cluster.fence, timeout=_EMPTY_SECONDS)
        except Failure as error:
            words = f"the registry is created anew, because it could not be emptied: {error.message}"
            # Proves the lease before anything is removed.
            await self.context.store.status.append_event(
                claim, NewEvent("step.progress", words, "registry", code=error.code)
            )
            await engine.remove(cluster.id, only={topology.registry.name})

    async def _forget_memory(self, claim: Claim, error: DayflyError) -> Claim:
        cluster, context = claim.cluster, self.context
        words = f"its saved memory is lost; it boots from its disks: {error.message}"
        await context.store.status.append_event(claim, NewEvent("cluster.fallback", words, "restore", code=error.code))
        await stop_paused(context.drivers, context.topology(cluster), cluster.id)
        return _of(claim, await context.store.provisioning.begin(claim, None, template_id=cluster.template_id))


def _not_loaded(origin: BootSource, error: DayflyError) -> CheckpointNotLoaded:
    return CheckpointNotLoaded(
        f"checkpoint {origin.name} cannot be loaded: {error.message}",
        evidence={**error.evidence, "cause": f"{error.code}: {error.message}"},
    )


def _of(claim: Claim, cluster: Cluster) -> Claim:
    return replace(claim, cluster=cluster)
