"""A whole service in memory: a real store, a real worker, and the outside world as fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dayfly.app import STEPS
from dayfly.domain.cluster import Cluster
from dayfly.domain.lifecycle import Phase
from dayfly.domain.limits import Accelerator
from dayfly.domain.spec import ClusterSpec
from dayfly.domain.topology import Publication
from dayfly.drivers.fake import FakeEngine, FakeKube, FakeSsh
from dayfly.drivers.protocols import Drivers
from dayfly.reconcile.reconciler import Installation, Reconciler
from dayfly.reconcile.walk import Patience
from dayfly.reconcile.worker import Worker, WorkerOptions
from dayfly.store import NewCluster, Store
from tests.support.clock import FakeClock

GIVE_UP_SECONDS = 20


@dataclass
class World:
    """What a test sees and touches."""

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    engine: FakeEngine = field(default_factory=lambda: FakeEngine(instance="default"))
    ssh: FakeSsh = field(default_factory=FakeSsh)
    kube: FakeKube = field(default_factory=FakeKube)
    lease_seconds: float = 30

    def worker(self, name: str = "worker") -> Worker:
        async def accelerator(image_id: str) -> Accelerator:
            return "kvm"

        reconciler = Reconciler(
            self.store,
            Drivers(self.engine, self.ssh, self.kube),
            STEPS,
            Installation("default", Publication(), "127.0.0.1"),
            accelerator,
            Patience(attempts=3, backoff_seconds=1, engine_seconds=10),
            self.clock,
        )
        return Worker(self.store, reconciler, WorkerOptions(name, 8, self.lease_seconds, 5, 0.05), self.clock)

    @asynccontextmanager
    async def working(self, name: str = "worker") -> AsyncIterator[asyncio.Task[None]]:
        """A worker runs within the block."""
        task = asyncio.create_task(self.worker(name).run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def create(self, spec: ClusterSpec, name: str | None = None, ttl_seconds: int | None = None) -> Cluster:
        cluster, _ = await self.store.create_cluster(NewCluster(name, spec, ttl_seconds))
        return cluster

    async def until(self, cluster: Cluster, *phases: Phase) -> Cluster:
        """The cluster, once it is in one of `phases`."""
        return await self.until_so(cluster, lambda now: now.phase in phases)

    async def until_so(self, cluster: Cluster, wanted: Callable[[Cluster], bool]) -> Cluster:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            with self.store.watch(cluster.id) as watch:
                while not wanted(now := await self.store.get_cluster(cluster.id)):
                    await watch.wait(GIVE_UP_SECONDS)
                return now
