"""The composition root: settings → store, drivers, steps → API and worker. The one file that knows every layer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
import uvicorn

from dayfly.api.app import create_api
from dayfly.api.dependencies import ApiServices
from dayfly.clock import Clock, SystemClock
from dayfly.controllers.admission import Admission
from dayfly.controllers.cluster.boot_source import BootSources
from dayfly.controllers.cluster.boot_throttle import BootThrottle
from dayfly.controllers.cluster.context import ClusterContext, Installation
from dayfly.controllers.cluster.finalize import Finalizer
from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.cluster.ready import ReadyController
from dayfly.controllers.cluster.reconciler import Reconciler
from dayfly.controllers.cluster.recovery import Recovery
from dayfly.controllers.cluster.retry import RetryPolicy
from dayfly.controllers.cluster.snapshots import Snapshots
from dayfly.controllers.cluster.worker import Worker, WorkerOptions
from dayfly.controllers.engine_events import EngineEventWatcher
from dayfly.controllers.engine_host import EngineHost
from dayfly.controllers.gc import GarbageCollector
from dayfly.controllers.pools.controller import pool_controller
from dayfly.controllers.pools.health import PoolHealth
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.controllers.templates import template_controller
from dayfly.domain.cluster.damage import RestartRules
from dayfly.domain.cluster.topology import Publication
from dayfly.domain.scheduling.resources import CapacityRules
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.host_pressure import KernelPressure
from dayfly.drivers.interfaces import Drivers, ImageStore, PressureGauge
from dayfly.drivers.kubernetes.client import KubeClient
from dayfly.drivers.qemu.accelerators import Accelerators, host_processor
from dayfly.drivers.qemu.vm import QemuMachines
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import DatabaseUnavailable
from dayfly.images.resolve import resolve_image
from dayfly.settings import Settings
from dayfly.steps.boot import Boot
from dayfly.steps.control_plane import ControlPlane
from dayfly.steps.join import Join
from dayfly.steps.observe.console import follow_console, read_console
from dayfly.steps.observe.diagnostics import collect_now
from dayfly.steps.personalize import Personalize
from dayfly.steps.ready import Ready
from dayfly.steps.registry import Registry
from dayfly.steps.remove_stale import RemoveStale
from dayfly.steps.restore import Restore
from dayfly.steps.sandbox import Sandbox
from dayfly.steps.smoke_test import SmokeTest
from dayfly.steps.step import Step
from dayfly.store import Store
from dayfly.telemetry import configure_logging

_log = structlog.get_logger(__name__)

_DATABASE_PAUSE_SECONDS: Final = 1.0

STEPS: Final[Mapping[str, Step]] = {
    "remove_stale": RemoveStale(),
    "sandbox": Sandbox(),
    "registry": Registry(),
    "boot": Boot(),
    "restore": Restore(),
    "personalize": Personalize(),
    "control_plane": ControlPlane(),
    "join": Join(),
    "ready": Ready(),
    "smoke_test": SmokeTest(),
}


@dataclass(frozen=True)
class Infrastructure:
    """The drivers of one process."""

    engine: DockerEngine
    images: DockerImages
    drivers: Drivers
    host: EngineHost
    gauge: PressureGauge
    accelerators: Accelerators


@asynccontextmanager
async def open_infrastructure(settings: Settings, clock: Clock) -> AsyncIterator[Infrastructure]:
    """Drivers that connect on first use and are closed at the end."""
    async with AsyncExitStack() as stack:
        engine = DockerEngine(settings.docker_host, instance=settings.instance, clock=clock)
        stack.push_async_callback(engine.close)
        images = DockerImages(settings.docker_host, instance=settings.instance, logins=settings.docker_config)
        stack.push_async_callback(images.close)
        ssh = SshConnections()
        stack.push_async_callback(ssh.close)
        host = EngineHost(engine, images, capacity_rules(settings))
        drivers = Drivers(engine, ssh, KubeClient(), QemuMachines(engine, processor=host_processor()))
        yield Infrastructure(engine, images, drivers, host, KernelPressure(), accelerators_of(settings, images))


def accelerators_of(settings: Settings, images: ImageStore) -> Accelerators:
    """What this host's VMs run on, as the operator has it or as a probe finds out."""
    return Accelerators(images, settings.accelerator, settings.state_dir / "kvm-probe.json")


def capacity_rules(settings: Settings) -> CapacityRules:
    """The host's resources for clusters."""
    return CapacityRules(
        cpu_overcommit=settings.cpu_overcommit,
        memory_overcommit=settings.memory_overcommit,
        disk_overcommit=settings.disk_overcommit,
        reserve_memory_mib=settings.reserve_memory_mib,
        reserve_disk_gib=settings.reserve_disk_gib,
    )


def reconciler_of(
    settings: Settings, context: ClusterContext, clock: Clock, *, steps: Mapping[str, Step] = STEPS
) -> Reconciler:
    """The reconciler of this process."""
    rules = RestartRules(settings.restart_limit, settings.restart_backoff_seconds, settings.restart_window_seconds)
    finalizer, recovery, boot_sources = Finalizer(context), Recovery(context, rules), BootSources(context)
    retry_policy = RetryPolicy(settings.step_attempts, settings.retry_backoff_seconds)
    return Reconciler(
        context=context,
        steps=steps,
        finalizer=finalizer,
        recovery=recovery,
        boot_sources=boot_sources,
        ready=ReadyController(context, finalizer, recovery, Snapshots(context, boot_sources), retry_policy),
        boot_throttle=BootThrottle(context.gauge, settings.pressure_limit_percent, clock),
        retry_policy=retry_policy,
    )


def cluster_context(settings: Settings, store: Store, infrastructure: Infrastructure, clock: Clock) -> ClusterContext:
    """Dependencies and settings that all clusters of this installation share."""
    installation = Installation(
        instance=settings.instance,
        publication=Publication(settings.publish_address, settings.port_range),
        advertised=settings.advertised,
        boot_limit_seconds=settings.boot_limit_seconds,
        processor=host_processor(),
    )
    return ClusterContext(
        store,
        infrastructure.drivers,
        installation,
        infrastructure.accelerators.accelerator,
        infrastructure.gauge,
        clock,
    )


def worker_of(settings: Settings, store: Store, reconciler: Reconciler, outages: Outages, clock: Clock) -> Worker:
    """The claim loop of this process."""
    options = WorkerOptions(
        settings.worker_name, settings.worker_concurrency, settings.lease_seconds, settings.poll_seconds
    )
    return Worker(store, reconciler.reconcile, options, outages, clock)


def garbage_collector(
    settings: Settings, store: Store, infrastructure: Infrastructure, clock: Clock
) -> GarbageCollector:
    """The garbage collector of this installation."""
    return GarbageCollector(
        store,
        infrastructure.engine,
        clock,
        grace_seconds=settings.orphan_grace_seconds,
        history_seconds=settings.history_seconds,
    )


def services_of(settings: Settings, store: Store, infrastructure: Infrastructure, clock: Clock) -> ApiServices:
    """The API's dependencies."""
    drivers, engine, host = infrastructure.drivers, infrastructure.engine, infrastructure.host
    collector = garbage_collector(settings, store, infrastructure, clock)
    return ApiServices(
        store=store,
        resolve_image=partial(resolve_image, infrastructure.images),
        template_key_of=infrastructure.accelerators.template_key,
        host_capacity=host.capacity,
        machine_memory=drivers.machines.memory,
        read_console=partial(read_console, engine),
        follow_console=partial(follow_console, engine),
        collect_diagnostics=partial(collect_now, drivers, settings.instance, infrastructure.gauge, clock),
        find_orphans=collector.orphans,
        remove_orphans=collector.remove_orphans,
        rules=host.rules,
        clock=clock,
        max_ttl_seconds=settings.max_ttl_seconds,
        default_ttl_seconds=settings.default_ttl_seconds,
        max_hold_seconds=settings.max_hold_seconds,
        fork_memory_overcommit=settings.fork_memory_overcommit,
        checks={"database": store.ping, "engine": engine.info},
        allowed_hosts=settings.allowed_hosts,
    )


async def run(settings: Settings, *, api: bool, worker: bool) -> None:
    """Run the API, a worker, or both in one process, until SIGTERM or SIGINT.

    A stopping worker cancels its steps and releases its leases at once.
    """
    configure_logging(settings)
    clock = SystemClock()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        store = await open_store(settings, clock, stop)
        if store is None:
            return
        stack.push_async_callback(store.close)
        infrastructure = await stack.enter_async_context(open_infrastructure(settings, clock))
        jobs: list[Coroutine[Any, Any, None]] = []
        if worker:
            jobs += worker_jobs(settings, store, infrastructure, clock)
        if api:
            jobs.append(_serve(settings, services_of(settings, store, infrastructure, clock)))
        _log.info("started", api=api, worker=worker, instance=settings.instance, name=settings.worker_name)
        await _until(stop, jobs)
        _log.info("stopped")


async def open_store(settings: Settings, clock: Clock, stop: asyncio.Event) -> Store | None:
    """Open the store, with retries while PostgreSQL does not answer; None if `stop` is set meanwhile.

    A SQLite file is not retried: raises DatabaseUnavailable, DatabaseInUse.
    """
    while not stop.is_set():
        try:
            return await Store.open(settings.database)
        except DatabaseUnavailable as error:
            if settings.database_file is not None:
                raise
            _log.warning("waiting for the database", reason=error.message)
            await clock.sleep(_DATABASE_PAUSE_SECONDS)
    return None


def worker_jobs(
    settings: Settings, store: Store, infrastructure: Infrastructure, clock: Clock, *, steps: Mapping[str, Step] = STEPS
) -> list[Coroutine[Any, Any, None]]:
    """The concurrent jobs of a worker process."""
    context = cluster_context(settings, store, infrastructure, clock)
    reconciler = reconciler_of(settings, context, clock, steps=steps)
    collector = garbage_collector(settings, store, infrastructure, clock)
    outages = Outages(store)
    specs = SpecRefresher(partial(resolve_image, infrastructure.images), infrastructure.accelerators.template_key)
    return [
        worker_of(settings, store, reconciler, outages, clock).run(),
        Admission(store, infrastructure.host.offered, settings.poll_seconds).run(),
        EngineEventWatcher(
            store,
            infrastructure.engine,
            collector,
            PoolHealth(context),
            outages,
            clock,
            survey_seconds=settings.survey_seconds,
        ).run(),
        template_controller(settings, store, specs, clock).run(),
        pool_controller(settings, store, specs, clock).run(),
    ]


async def _until(stop: asyncio.Event, jobs: list[Coroutine[Any, Any, None]]) -> None:
    """Run all jobs until `stop` is set or one job ends; then cancel the rest."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(job) for job in jobs]
        stopping = group.create_task(stop.wait())
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (*running, stopping):
            task.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to `run`: uvicorn would delay them until its last response."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings, services: ApiServices) -> None:
    """Serve HTTP until cancelled."""
    server = _Server(
        uvicorn.Config(
            create_api(services),
            host=settings.listen_address,
            port=settings.listen_port,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Held responses (?wait=) end at once; other requests must not delay the end of the process.
            timeout_graceful_shutdown=3,
        )
    )
    serving = asyncio.ensure_future(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        services.closing.set()
        server.should_exit = True
        await serving
        raise
