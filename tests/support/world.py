"""A whole service in memory: a real store and a real worker, with fakes for the outside world."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dayfly.app import reconciler_of
from dayfly.clock import SystemClock
from dayfly.controllers.admission import Admission
from dayfly.controllers.cluster.context import ClusterContext, Installation
from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.cluster.reconciler import Reconciler
from dayfly.controllers.cluster.worker import Worker, WorkerOptions
from dayfly.controllers.engine_events import EngineEventWatcher
from dayfly.controllers.gc import GarbageCollector
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.controllers.image_collection import ImageCollector
from dayfly.controllers.pools.health import PoolHealth
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Event, Hold
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.cluster.topology import Publication
from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.template import Template, template_key
from dayfly.drivers.interfaces import Drivers
from dayfly.errors import EngineUnavailable
from dayfly.settings import Settings
from dayfly.store import NewCluster, Store
from dayfly.testing.fake_images import FakeImages
from dayfly.testing.fakes import FakeContainer, FakeEngine, FakeKube, FakeMachines, FakePressure, FakeSsh
from dayfly.vocabulary import TemplatePhase
from tests.support.clock import FakeClock

GIVE_UP_SECONDS = 60
"""Longer than a lease: a worker that is disconnected during a claim holds it until its lease ends."""
PLENTY = Resources(10**6, 10**9, 10**9)
NEVER_SECONDS = 3600.0

_LOOK_SECONDS = 0.01


class _HeardCalls(Counter[str]):
    """Counts the calls of a fake, and signals the start of a call."""

    def __init__(self, called: asyncio.Event) -> None:
        super().__init__()
        self._called = called

    def __setitem__(self, method: str, count: int) -> None:
        super().__setitem__(method, count)
        self._called.set()


@dataclass
class World:
    """The parts of the world that tests use. `offered`: the host's resources for clusters.

    `advertised`: the host part of endpoints for callers.
    """

    store: Store
    clock: FakeClock = field(default_factory=FakeClock)
    engine: FakeEngine = field(default_factory=lambda: FakeEngine(instance="default"))
    images: FakeImages = field(default_factory=FakeImages)
    ssh: FakeSsh = field(default_factory=FakeSsh)
    kube: FakeKube = field(default_factory=FakeKube)
    machines: FakeMachines = field(init=False)
    outages: Outages = field(init=False)
    _called: asyncio.Event = field(default_factory=asyncio.Event)
    pressure: FakePressure = field(default_factory=FakePressure)
    lease_seconds: float = 30
    offered: Resources = PLENTY
    advertised: str = "127.0.0.1"
    settings: Settings = field(
        default_factory=lambda: Settings(step_attempts=3, retry_backoff_seconds=1, restart_limit=3)
    )

    def __post_init__(self) -> None:
        self.machines = FakeMachines(self.engine)
        self.outages = Outages(self.store, first_seconds=0.01)
        for fake in (self.engine, self.ssh, self.kube, self.machines):
            fake.calls = _HeardCalls(self._called)

    def context(self) -> ClusterContext:
        async def accelerator(image_id: str) -> Accelerator:
            if self.engine.is_down:
                raise EngineUnavailable("Cannot connect to Docker Engine")  # it is found out by a container
            return "kvm"

        installation = Installation("default", Publication(), self.advertised, caches=self.settings.caches)
        drivers = Drivers(self.engine, self.ssh, self.kube, self.machines)
        return ClusterContext(self.store, drivers, installation, accelerator, self.pressure, self.clock)

    def reconciler(self) -> Reconciler:
        return reconciler_of(self.settings, self.context(), self.clock)

    def worker(self, name: str = "worker") -> Worker:
        options = WorkerOptions(name, 8, self.lease_seconds, 5, 0.05)
        return Worker(self.store, self.reconciler().reconcile, options, self.outages, self.clock)

    def admission(self) -> Admission:
        async def offered() -> Resources:
            return self.offered

        return Admission(self.store, offered, 5)

    def collector(self, *, grace_seconds: float = 0.0, history_seconds: float = NEVER_SECONDS) -> GarbageCollector:
        settings = Settings(
            orphan_grace_seconds=grace_seconds,
            history_seconds=history_seconds,
            registry_caches=self.settings.registry_caches,
        )
        images = ImageCollector(settings, ImageCatalog(self.images, self.store))
        return GarbageCollector(settings, self.store, self.engine, images, self.clock)

    def watcher(self) -> EngineEventWatcher:
        # On real time: a pause between two surveys that takes no time would leave none for anything else.
        return EngineEventWatcher(
            self.store,
            self.engine,
            self.collector(),
            self.pool_health(),
            self.outages,
            SystemClock(),
            survey_seconds=NEVER_SECONDS,
        )

    def pool_health(self) -> PoolHealth:
        return PoolHealth(self.context())

    @asynccontextmanager
    async def working(self, name: str = "worker") -> AsyncIterator[asyncio.Task[None]]:
        """A worker process runs within the block: its claim loop (the task), admission, and the watch on the engine."""
        loops = [self.worker(name).run(), self.admission().run(), self.watcher().run()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def create(
        self, spec: ClusterSpec, name: str | None = None, *, owner: str = "default", hold: Hold | None = None
    ) -> Cluster:
        cluster, _ = await self.store.clusters.create(NewCluster(name, spec, owner, hold))
        return cluster

    async def until(self, cluster: Cluster, *phases: Phase) -> Cluster:
        """The cluster, once it is in one of these phases."""
        return await self.until_so(cluster, lambda now: now.phase in phases)

    async def until_so(self, cluster: Cluster, wanted: Callable[[Cluster], bool]) -> Cluster:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            with self.store.watch(cluster.id) as watch:
                while not wanted(now := await self.store.clusters.get(cluster.id)):
                    await watch.wait(GIVE_UP_SECONDS)
                return now

    async def template(self, spec: ClusterSpec, phase: TemplatePhase = TemplatePhase.READY) -> Template:
        """A new template of `spec`, once it is in `phase`."""
        template, _ = await self.store.templates.create(spec, "default", self.key(spec))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while not await self.template_is(template.id, phase):  # noqa: ASYNC110 - templates have no watch
                await asyncio.sleep(0.005)
        return await self.store.templates.get(template.id)

    def key(self, spec: ClusterSpec, owner: str = "default") -> str:
        """The key of a template that can serve `spec` here."""
        return template_key(spec, owner, "kvm", "")

    async def template_is(self, template_id: str, phase: TemplatePhase) -> bool:
        return (await self.store.templates.get(template_id)).phase is phase

    async def is_in(self, cluster: Cluster, phase: Phase) -> bool:
        return (await self.store.clusters.get(cluster.id)).phase is phase

    def node(self, cluster: Cluster, name: str) -> FakeContainer:
        return self.engine.containers[f"dayfly-{cluster.id}-{name}"]

    async def host_key(self, cluster: Cluster) -> str:
        """The public host key of the cluster's nodes."""
        secrets = await self.store.clusters.secrets(cluster.id)
        assert secrets is not None
        return secrets.host_key.public

    async def until_nothing_runs(self) -> None:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while self.engine.containers:  # noqa: ASYNC110 - the fake has no event for being empty
                await asyncio.sleep(0)

    async def work_in_pieces(self, calls: int, done: Callable[[], Awaitable[bool]]) -> None:
        """One worker after the other, each cut off after so many calls to the outside world, until it is `done`."""
        for _ in range(80):
            async with self.working() as worker, asyncio.timeout(GIVE_UP_SECONDS):
                await self.until_called(worker, calls, done)
            if await done():
                return
            calls += 1  # some steps need more than one call in a row
        raise AssertionError("it does not come to its end")

    async def until_called(self, worker: asyncio.Task[None], calls: int, done: Callable[[], Awaitable[bool]]) -> None:
        """Until so many more calls to the outside world were made, it is `done`, or the worker has ended."""
        before = self._calls()
        while not worker.done() and self._calls() - before < calls:
            self._called.clear()
            try:
                await asyncio.wait_for(self._called.wait(), _LOOK_SECONDS)
            except TimeoutError:
                # Only now: reading the database would delay the workers.
                if await done():
                    return

    def _calls(self) -> int:
        return sum(fake.calls.total() for fake in (self.engine, self.ssh, self.kube, self.machines))

    async def until_event(self, cluster: Cluster, wanted: Callable[[Event], bool]) -> Event:
        """The cluster's first event `wanted`, once there is one."""
        async with asyncio.timeout(GIVE_UP_SECONDS):
            with self.store.watch(cluster.id) as watch:
                while True:
                    for event in await self.store.clusters.events(cluster.id):
                        if wanted(event):
                            return event
                    await watch.wait(GIVE_UP_SECONDS)
