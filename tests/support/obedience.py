"""A stand-in worker that writes a worker's results to the store at once, without engine and machines."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Endpoint, Fault, NewEvent, Purpose, StepReport, StepState
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.topology import published_ports
from dayfly.domain.scheduling.fair_queue import Queue, Waiting, admissible
from dayfly.domain.scheduling.resources import CapacityRules, Resources
from dayfly.domain.security.secrets import new_secrets
from dayfly.domain.template import template_key, why_not_forked
from dayfly.errors import NotFound
from dayfly.store import Claim, Store
from dayfly.vocabulary import AddonState

RULES = CapacityRules(
    cpu_overcommit=4, memory_overcommit=1, disk_overcommit=1, reserve_memory_mib=1024, reserve_disk_gib=5
)
OFFERED = RULES.offered(Resources(8, 16384, 205))
"""32 vCPUs, 15360 MiB and 200 GiB."""
SAVED_BYTES = 130 << 20


async def template_key_of(spec: ClusterSpec, owner: str) -> str:
    """As on a host without KVM."""
    return template_key(spec, owner, "tcg", "")


@dataclass
class Worker:
    """Writes to the store what a worker would; looks at nothing."""

    store: Store

    async def admit(self) -> tuple[str, ...]:
        """Let all begin for whom there is room; their ids."""
        return await self.store.admission.admit(lambda queue: admissible(queue, OFFERED))

    async def claim(self) -> Claim:
        """The only due cluster, once it is admitted."""
        await self.admit()
        (claim,) = await self.store.leases.claim("worker", lease_seconds=60, limit=1)
        return claim

    async def publish(self, claim: Claim) -> None:
        """Begin, with secrets and endpoints: 40001 for the first published port, and so on. A fork, if it can be."""
        cluster, spec = claim.cluster, claim.cluster.spec
        origin, template_id = await self._origin(cluster)
        why = await self._why_not_forked(cluster) if template_id is None else None
        await self.store.provisioning.begin(claim, origin, template_id=template_id, not_forked=why)
        if cluster.ready_at is not None:
            return
        await self.store.status.save_secrets(claim, new_secrets(spec, datetime.now(UTC)))
        ports = enumerate(published_ports(spec), start=40001)
        await self.store.status.set_endpoints(claim, {inner: Endpoint("127.0.0.1", outer) for outer, inner in ports})
        began = datetime.now(UTC)
        for node in spec.nodes():
            report = StepReport("boot", node.name, StepState.DONE, 1, began, finished_at=began, detail="answers on SSH")
            await self.store.status.record(claim, [report])
            event = NewEvent("step.done", "answers on SSH", step="boot", node=node.name, seconds=12.5)
            await self.store.status.append_event(claim, event)

    async def make(self) -> Cluster:
        """Claim, publish, and be ready."""
        claim = await self.claim()
        await self.publish(claim)
        ready = await self.store.status.set_phase(claim, Phase.READY)
        await self.store.leases.release(claim, due_in_seconds=None)
        return ready

    async def fail(self, evidence: Mapping[str, str]) -> None:
        claim = await self.claim()
        await self.store.status.set_phase(claim, Phase.PROVISIONING)
        await self._fail(claim, evidence)
        await self.store.leases.release(claim, due_in_seconds=None)

    async def remove(self) -> None:
        claim = await self.claim()
        await self.store.status.set_phase(claim, Phase.DELETING)
        await self.store.status.set_phase(claim, Phase.DELETED)

    async def tend(self) -> None:
        """Everything that is due, until nothing is."""
        await self.admit()
        while claims := await self.store.leases.claim("worker", lease_seconds=60, limit=10):
            for claim in claims:
                await self.obey(claim)
            await self.admit()

    async def obey(self, claim: Claim) -> None:
        """Do all requested work of one cluster; a cluster whose name starts with `bad` fails."""
        cluster = claim.cluster
        if cluster.desired is Desired.ABSENT:
            if cluster.phase is not Phase.DELETING:
                await self.store.status.set_phase(claim, Phase.DELETING)
            await self.store.status.set_phase(claim, Phase.DELETED)
            return
        if cluster.phase is Phase.HIBERNATED:
            await self.store.status.set_phase(claim, Phase.PENDING)
        elif cluster.phase is Phase.PENDING:
            await self.publish(claim)
            if cluster.name.startswith("bad"):
                await self._fail(claim, {"node01/console": "Kernel panic"})
            else:
                cluster = await self.store.status.set_phase(claim, Phase.READY)
        if cluster.phase is Phase.READY:
            await self._attend(claim, cluster)
        await self.store.leases.release(claim, due_in_seconds=None)

    async def _attend(self, claim: Claim, cluster: Cluster) -> None:
        """Do the requested work of a ready cluster."""
        store = self.store
        for checkpoint in await store.checkpoints.due(cluster.id):
            if checkpoint.phase is CheckpointPhase.DELETING:
                await store.checkpoints.gone(claim, checkpoint.name)
            else:
                await store.checkpoints.made(claim, checkpoint.name, SAVED_BYTES)
        for addon in (one for one in cluster.addons if one.is_due):
            state = None if addon.state is AddonState.REMOVING else AddonState.READY
            await store.status.set_addon(claim, addon.name, state, event=NewEvent("cluster.addon", "as requested"))
        if cluster.purpose is Purpose.TEMPLATE:
            await store.template_builds.saved(claim, SAVED_BYTES)
        elif cluster.purpose is Purpose.VERIFICATION:
            await store.template_builds.verified(claim)
        elif cluster.paused != (cluster.purpose is Purpose.POOL_MEMBER):
            await store.provisioning.set_paused(claim, not cluster.paused)
        if cluster.reset_to is not None:
            await store.provisioning.begin(claim, cluster.reset_to, template_id=cluster.template_id, reset=True)
            await store.status.set_phase(claim, Phase.READY)
        elif cluster.desired is Desired.HIBERNATED:
            await store.status.set_phase(claim, Phase.HIBERNATED)

    async def _origin(self, cluster: Cluster) -> tuple[BootSource, str | None]:
        if cluster.ready_at is not None:
            return HIBERNATION, cluster.template_id
        if cluster.purpose is Purpose.VERIFICATION:
            return TEMPLATE, cluster.template_id
        if cluster.purpose is Purpose.TEMPLATE:
            return IMAGE, cluster.template_id
        if cluster.spec.isolation == "shared":
            found = await self.store.templates.find(await template_key_of(cluster.spec, cluster.owner), cluster.owner)
            if found is not None:
                return TEMPLATE, found.id
        return IMAGE, None

    async def _why_not_forked(self, cluster: Cluster) -> str:
        spec, owner = cluster.spec, cluster.owner
        if spec.isolation == "strict":
            return "its isolation is strict"
        templates = await self.store.templates.list()
        return why_not_forked(spec, owner, await template_key_of(spec, owner), templates)

    async def _fail(self, claim: Claim, evidence: Mapping[str, str]) -> None:
        await self.store.status.save_evidence(claim, evidence)
        fault = Fault("vm_exited", "QEMU ended by itself", step="boot", node="node01", evidence=evidence)
        await self.store.status.set_phase(claim, Phase.FAILED, fault=fault)


def obedience(store: Store) -> Sequence[Coroutine[Any, Any, None]]:
    """The work of a worker process: clusters whose name starts with `slow` stay pending."""
    return (_admit(store), _work(store))


async def _admit(store: Store) -> None:
    with store.watch_queue() as watch:
        while True:
            page = await store.clusters.list(phases=[Phase.PENDING], limit=500)
            slow = {one.id for one in page.clusters if one.name.startswith("slow")}

            def decide(queue: Queue, slow: set[str] = slow) -> Sequence[Waiting]:
                quick = [waiting for waiting in queue.waiting if waiting.id not in slow]
                return admissible(Queue(quick, queue.held), OFFERED)

            await store.admission.admit(decide)
            for pool in await store.pools.list():
                with suppress(NotFound):  # deleted meanwhile
                    await store.pools.refill(pool.id, pool.desired_size(datetime.now(UTC)), pool.spec)
            await watch.wait(1)


async def _work(store: Store) -> None:
    worker = Worker(store)
    with store.watch_work() as watch:
        while True:
            for claim in await store.leases.claim("worker", lease_seconds=60, limit=10):
                await worker.obey(claim)
            await watch.wait(1)
