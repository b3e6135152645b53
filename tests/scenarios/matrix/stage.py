"""Plays a schedule: real store, real controllers, the outside world as fakes, mortal processes between them.

Not here: schedules (schedule.py), performing deeds (doing.py), and invariants (invariants.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import delete, select

from dayfly.app import reconciler_of
from dayfly.controllers.admission import Admission
from dayfly.controllers.cluster.context import ClusterContext, Installation
from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.cluster.worker import Worker, WorkerOptions
from dayfly.controllers.engine_events import EngineEventWatcher
from dayfly.controllers.gc import GarbageCollector
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.controllers.image_collection import ImageCollector
from dayfly.controllers.pools.controller import PoolController
from dayfly.controllers.pools.health import PoolHealth
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.controllers.templates import TemplateController
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.cluster.topology import ContainerSpec, Publication
from dayfly.domain.image import ImageManifest
from dayfly.domain.scheduling.fair_queue import admissible
from dayfly.domain.scheduling.resources import Resources
from dayfly.drivers.interfaces import Drivers
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.store.db.tables import clusters as table
from dayfly.store.db.tables import pools, templates
from dayfly.testing.fake_images import FakeImages
from dayfly.testing.fakes import FakeContainer, FakeEngine, FakeKube, FakeMachines, FakePressure, FakeSsh
from tests.scenarios.matrix.schedule import Deed, Schedule
from tests.support.conformance import ConformanceProgram
from tests.support.mortal import Process, Traffic
from tests.support.specs import IMAGE_ID, make_manifest
from tests.support.virtual_time import LoopClock, running_loop

LEASE_SECONDS: Final = 30.0
RARELY_SECONDS: Final = 300.0
"""How often a process looks without being woken: so seldom that a wake-up which is missing delays everything."""
CALLS_SECONDS: Final = 40.0
"""A deed waits no longer for calls; longer than a lease, so that successors of the dead are met, too."""
AFTERMATH_SECONDS: Final = 1800.0
_NEVER: Final = 10.0**9


@cache
def settings() -> Settings:
    return Settings(
        step_attempts=3,
        retry_backoff_seconds=1,
        restart_limit=3,
        poll_seconds=RARELY_SECONDS,
        survey_seconds=RARELY_SECONDS,
        # The invariants check failed objects: no retry may replace them meanwhile.
        template_retry_seconds=_NEVER,
        pool_retry_seconds=_NEVER,
        orphan_grace_seconds=_NEVER,
        history_seconds=_NEVER,
    )


class RememberingEngine(FakeEngine):
    """Records the creation of each container, and how often it was stopped while its machine waited for a restore."""

    def __init__(self) -> None:
        super().__init__()
        self.births: list[tuple[str, datetime]] = []
        self.never_ran: Counter[str] = Counter()

    async def stop(self, name: str) -> None:
        if (found := self.containers.get(name)) is not None and found.alive and found.vm_status == "inmigrate":
            self.never_ran[name] += 1
        await super().stop(name)

    def _create(self, spec: ContainerSpec) -> FakeContainer:
        self.births.append((spec.name, running_loop().now()))
        return super()._create(spec)


class Stage:
    """One world, and what was done to it."""

    def __init__(self, store: Store, schedule: Schedule) -> None:
        self.store, self.schedule, self.clock = store, schedule, LoopClock()
        self.engine, self.ssh, self.kube = RememberingEngine(), FakeSsh(), FakeKube()
        self.machines = FakeMachines(self.engine)
        ConformanceProgram().installed(self.ssh)
        self.traffic = Traffic()
        self.offered = Resources(schedule.room if schedule.room is not None else 1000, 10**9, 10**9)
        self.ids: list[str] = []
        self.unwanted: set[str] = set()
        self.exits: Counter[str] = Counter()
        self.bereft: set[str] = set()
        """Clusters that lost a container by hand."""
        self.went_down: set[str] = set()
        """Clusters whose containers all ended with the engine."""
        self.reset: set[str] = set()
        """Clusters for which a reset was requested."""
        self.fell_back: set[str] = set()
        """Clusters whose events record a fallback."""
        self.slept: set[str] = set()
        """Clusters whose events record a hibernation: their containers were stopped and started again."""
        self.decoys: dict[tuple[str, str], object] = {}
        self.ghosts = 0
        """The number of processes that continued after they had lost their leases."""
        self.crashes: list[BaseException] = []
        self.processes: list[Process] = []
        self._slots: set[asyncio.Task[None]] = set()
        self._made = 0
        self._closing = False

    @asynccontextmanager
    async def played(self, do: Callable[[Deed, Stage], Awaitable[None]]) -> AsyncIterator[None]:
        """After the schedule: repair everything, finish all work, and wait until all processes are idle."""
        try:
            self.add_process()
            for deed in self.schedule.deeds:
                await self.traffic.pass_by(deed.after, timeout=CALLS_SECONDS)
                await do(deed, self)
            await self._heal()
            await self._settle()
            await self._stop()
            yield
        finally:
            await self._stop()
            async with self.store._database.write() as transaction:
                for one in (table, templates, pools):
                    await transaction.connection.execute(delete(one))

    def collector(self, store: Store | None = None, engine: FakeEngine | None = None) -> GarbageCollector:
        images = ImageCollector(settings(), ImageCatalog(FakeImages(), store or self.store))
        return GarbageCollector(settings(), store or self.store, engine or self.engine, images, self.clock)

    async def is_quiet(self) -> bool:
        """Whether all processes are idle, and no work is due soon."""
        query = select(table.c.due_at, table.c.lease_token)
        async with self.store._database.read() as connection:
            rows = (await connection.execute(query)).all()
        soon = self.clock.now() + timedelta(seconds=20)
        if any(row.lease_token is not None or (row.due_at is not None and row.due_at <= soon) for row in rows):
            return False
        if admissible(await self.store.admission.queue(), self.offered):
            return False
        # The next comparison removes a template's volume: no request waits for its disk.
        return not any(orphan.resource.template_id for orphan in await self.collector().orphans())

    # -- processes

    def add_process(self) -> None:
        self._slots.add(asyncio.create_task(self._occupy()))

    async def _occupy(self) -> None:
        """One process, and after its death another, as a service manager does."""
        while not self._closing:
            self._made += 1
            process = Process(f"p{self._made}", self.traffic)
            self.processes.append(process)
            error = await process.run(*self._jobs(process))
            self.processes.remove(process)
            if error is not None and not self._closing:
                self.crashes.append(error)

    def _jobs(self, process: Process) -> tuple[Coroutine[Any, Any, None], ...]:
        store, engine = process.line("store", self.store), process.engine(self.engine)
        machines = process.line("machines", self.machines)
        drivers = Drivers(engine, process.line("ssh", self.ssh), process.line("kube", self.kube), machines)
        installation = Installation("default", Publication(), "127.0.0.1")
        context = ClusterContext(store, drivers, installation, _accelerator, FakePressure(), self.clock)
        reconciler = reconciler_of(settings(), context, self.clock)
        outages = Outages(store)
        options = WorkerOptions(process.name, 8, LEASE_SECONDS, RARELY_SECONDS)

        async def offered() -> Resources:
            return self.offered

        specs = SpecRefresher(_resolve, context.template_key)
        return (
            TemplateController(settings(), store, specs, self.clock).run(),
            PoolController(settings(), store, specs, self.clock).run(),
            Worker(store, reconciler.reconcile, options, outages, self.clock).run(),
            Admission(store, offered, RARELY_SECONDS).run(),
            EngineEventWatcher(
                store,
                engine,
                self.collector(store, engine),
                PoolHealth(context),
                outages,
                self.clock,
                survey_seconds=RARELY_SECONDS,
            ).run(),
        )

    async def _stop(self) -> None:
        self._closing = True
        for process in self.processes:
            process.die()
        await asyncio.gather(*self._slots)
        self._slots.clear()

    async def _heal(self) -> None:
        """End all faults; stopped processes continue, and then all processes are killed."""
        self.engine.engine_up()
        self.traffic.faults.clear()
        for process in self.processes:
            process.resume()
        if self.ghosts:
            await asyncio.sleep(5)
        await self._stop()

    async def _settle(self) -> None:
        """A new process, until there is nothing left for it to do."""
        self._closing = False
        self.add_process()
        began = self.clock.monotonic()
        quiet = 0
        # Twice: the controllers of templates and pools pause before they check changes.
        while quiet < 2:
            assert self.clock.monotonic() - began < AFTERMATH_SECONDS, "the service does not come to rest"
            await asyncio.sleep(5)
            quiet = quiet + 1 if await self.is_quiet() else 0


async def _resolve(reference: str) -> tuple[str, ImageManifest]:
    return IMAGE_ID, make_manifest()


async def _accelerator(image_id: str) -> Accelerator:
    return "kvm"


async def recorded(store: Store, ids: list[str]) -> list[Cluster]:
    return [await store.clusters.get(cluster_id) for cluster_id in ids]
