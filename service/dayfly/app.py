"""The composition root: settings → store, drivers, steps → API and worker. The one file that knows every layer.

Not here: the process that runs them, its signals and its HTTP server (process.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from dayfly.addon_files import load_addons
from dayfly.addon_manifests import AddonManifests
from dayfly.api.authentication import Authentication
from dayfly.api.dependencies import ApiServices
from dayfly.api.held_responses import HeldResponses
from dayfly.api.rate_limits import RateLimits
from dayfly.api.token_authentication import TokenAuthenticator
from dayfly.assets import provisioning
from dayfly.clock import Clock
from dayfly.controllers.admission import Admission
from dayfly.controllers.bakes.builder import Builder, BuilderOptions
from dayfly.controllers.bakes.leftovers import Leftovers
from dayfly.controllers.bakes.rebuilds import Rebuilds
from dayfly.controllers.cluster.addons import AddonController
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
from dayfly.controllers.image_catalog import ImageCatalog, base_of
from dayfly.controllers.image_collection import ImageCollector
from dayfly.controllers.images_in_use import ImagesInUse
from dayfly.controllers.pools.controller import PoolController
from dayfly.controllers.pools.health import PoolHealth
from dayfly.controllers.registry_caches import RegistryCaches
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.controllers.templates import TemplateController
from dayfly.controllers.webhooks.deliverer import Deliverer, DelivererOptions
from dayfly.domain.bake import BakedImage, BakeOrder
from dayfly.domain.cluster.damage import RestartRules
from dayfly.domain.cluster.topology import Publication
from dayfly.domain.scheduling.resources import CapacityRules
from dayfly.domain.security.oidc import OidcRules
from dayfly.domain.security.webhook_addresses import networks
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.docker.registry_credentials import credentials_for
from dayfly.drivers.host_pressure import KernelPressure
from dayfly.drivers.interfaces import Drivers, ImageStore, PressureGauge
from dayfly.drivers.kubernetes.client import KubeClient
from dayfly.drivers.qemu.accelerators import Accelerators, host_processor
from dayfly.drivers.qemu.vm import QemuMachines
from dayfly.drivers.ssh import SshConnections
from dayfly.drivers.webhooks.caller import HttpCaller
from dayfly.errors import TooManyStreams
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import AskForRoom
from dayfly.images.bake_process import bake_in_process
from dayfly.images.orders import check_order
from dayfly.images.package_news import newest_packages
from dayfly.images.plan import make_plan
from dayfly.images.progress import Report
from dayfly.oidc.authenticator import OidcAuthenticator
from dayfly.oidc.rules_file import RulesFile
from dayfly.settings import Settings
from dayfly.steps.addons import Addons
from dayfly.steps.boot import Boot
from dayfly.steps.conformance import Conformance
from dayfly.steps.control_plane import ControlPlane
from dayfly.steps.join import Join
from dayfly.steps.observe.console import follow_console, read_console
from dayfly.steps.observe.diagnostics import collect_now
from dayfly.steps.observe.exit_guard import node_runs
from dayfly.steps.personalize import Personalize
from dayfly.steps.ready import Ready
from dayfly.steps.registry import Registry
from dayfly.steps.remove_stale import RemoveStale
from dayfly.steps.restore import Restore
from dayfly.steps.sandbox import Sandbox
from dayfly.steps.smoke_test import SmokeTest
from dayfly.steps.step import Step
from dayfly.store import Store

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
    "addons": Addons(),
    "conformance": Conformance(),
}


@dataclass(frozen=True)
class Infrastructure:
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
        images = DockerImages(
            settings.docker_host,
            instance=settings.instance,
            logins=settings.docker_config,
            insecure_registries=settings.insecure_registries,
        )
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
    return CapacityRules(
        cpu_overcommit=settings.cpu_overcommit,
        memory_overcommit=settings.memory_overcommit,
        disk_overcommit=settings.disk_overcommit,
        reserve_memory_mib=settings.reserve_memory_mib,
        reserve_disk_gib=settings.reserve_disk_gib + (settings.registry_cache_gib if settings.caches else 0),
    )


def reconciler_of(
    settings: Settings, context: ClusterContext, clock: Clock, *, steps: Mapping[str, Step] = STEPS
) -> Reconciler:
    rules = RestartRules(settings.restart_limit, settings.restart_backoff_seconds, settings.restart_window_seconds)
    finalizer, recovery, boot_sources = Finalizer(context), Recovery(context, rules), BootSources(context)
    retry_policy = RetryPolicy(settings.step_attempts, settings.retry_backoff_seconds)
    return Reconciler(
        context=context,
        steps=steps,
        finalizer=finalizer,
        recovery=recovery,
        boot_sources=boot_sources,
        ready=ReadyController(
            context, finalizer, recovery, boot_sources, Snapshots(context), AddonController(context), retry_policy
        ),
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
        caches=settings.caches,
    )
    return ClusterContext(
        store,
        infrastructure.drivers,
        installation,
        infrastructure.accelerators.accelerator,
        infrastructure.gauge,
        clock,
    )


def services_of(settings: Settings, store: Store, infrastructure: Infrastructure, clock: Clock) -> ApiServices:
    drivers, engine, host = infrastructure.drivers, infrastructure.engine, infrastructure.host
    catalog = ImageCatalog(infrastructure.images, store)
    collector = GarbageCollector(settings, store, engine, ImageCollector(settings, catalog), clock)
    manifests = AddonManifests.of(settings)
    oidc = oidc_rules(settings, clock)
    return ApiServices(
        settings=settings,
        store=store,
        resolve_image=catalog.resolve,
        present_images=catalog.present,
        find_image=catalog.find,
        keep_image=catalog.keep,
        release_image=catalog.release,
        base_of=base_of,
        template_key_of=infrastructure.accelerators.template_key,
        host_capacity=host.capacity,
        engine_versions=partial(_engine_versions, engine),
        machine_memory=drivers.machines.memory,
        node_runs=partial(node_runs, engine),
        read_console=partial(read_console, engine),
        follow_console=partial(follow_console, engine),
        collect_diagnostics=partial(collect_now, drivers, settings.instance, infrastructure.gauge, clock),
        find_orphans=collector.orphans,
        remove_orphans=collector.remove_orphans,
        rules=host.rules,
        clock=clock,
        checks={"database": store.ping, "engine": engine.info},
        allowed_hosts=settings.allowed_hosts,
        authentication=authentication_of(settings, store, clock, oidc),
        held=HeldResponses(settings.max_held_responses),
        streams=HeldResponses(settings.max_event_streams, refusal=TooManyStreams),
        rates=RateLimits(settings.rate_limit_per_minute),
        addons=load_addons(),
        why_addon_unavailable=manifests.why_unavailable,
        complete_addon=manifests.complete,
        check_bake=check_order,
        login_issuers=lambda: oidc().issuers,
    )


def oidc_rules(settings: Settings, clock: Clock) -> Callable[[], OidcRules]:
    """Returns the OIDC rules in force; none without a file of rules. Raises OidcFileInvalid."""
    return OidcRules if settings.oidc_file is None else RulesFile(settings.oidc_file, clock).current


def authentication_of(settings: Settings, store: Store, clock: Clock, oidc: Callable[[], OidcRules]) -> Authentication:
    """How callers prove who they are. `oidc` returns the OIDC rules in force."""
    return Authentication(
        authenticators=(TokenAuthenticator(store, clock), OidcAuthenticator(oidc, store.teams.named, clock)),
        own_uid=os.getuid(),
        loopback_is_operator=settings.loopback_is_operator,
    )


async def _engine_versions(engine: DockerEngine) -> Mapping[str, str]:
    info = await engine.info()
    return {name: getattr(info, name) for name in ("name", "version", "api_version", "kernel", "image_store")}


def worker_jobs(
    settings: Settings, store: Store, infrastructure: Infrastructure, clock: Clock, *, steps: Mapping[str, Step] = STEPS
) -> list[Coroutine[Any, Any, None]]:
    context = cluster_context(settings, store, infrastructure, clock)
    reconciler = reconciler_of(settings, context, clock, steps=steps)
    catalog = ImageCatalog(infrastructure.images, store)
    collector = GarbageCollector(settings, store, infrastructure.engine, ImageCollector(settings, catalog), clock)
    outages = Outages(store)
    options = WorkerOptions(
        settings.worker_name, settings.worker_concurrency, settings.lease_seconds, settings.poll_seconds
    )
    complete = AddonManifests.of(settings).complete
    specs = SpecRefresher(catalog.resolve, infrastructure.accelerators.template_key, load_addons(), complete)
    caches = RegistryCaches(settings, infrastructure.engine, infrastructure.images, credentials_for, clock)
    return [
        Worker(store, reconciler.reconcile, options, outages, clock).run(),
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
        TemplateController(settings, store, specs, clock).run(),
        PoolController(settings, store, specs, clock).run(),
        ImagesInUse(settings, catalog, clock).run(),
        deliverer_of(settings, store, clock).run(),
        *([caches.run()] if settings.caches else []),
    ]


def deliverer_of(settings: Settings, store: Store, clock: Clock) -> Deliverer:
    options = DelivererOptions(settings.worker_name, poll_seconds=settings.poll_seconds)
    return Deliverer(store, HttpCaller(networks(settings.webhook_networks)), options, clock)


async def run_builder(settings: Settings, store: Store, clock: Clock) -> None:
    """Carry out bakes that callers request over HTTP, until cancelled."""
    options = BuilderOptions(
        settings.worker_name,
        settings.host_name,
        settings.bake_concurrency,
        settings.lease_seconds,
        settings.poll_seconds,
        settings.bake_attempts,
    )
    async with open_infrastructure(settings.of_bakes, clock) as infrastructure:
        leftovers = Leftovers(infrastructure.engine, infrastructure.images, settings.cache_dir, clock)

        async def run_bake(order: BakeOrder, report: Report, room: AskForRoom) -> BakedImage:
            return await bake_in_process(order, report, images=infrastructure.images, room=room)

        async def promote(name: str, image: BakedImage) -> None:
            await catalog.promote(name, image.id)

        catalog = ImageCatalog(infrastructure.images, store)
        builder = Builder(store, run_bake, leftovers.remove, infrastructure.host.offered, promote, options, clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(builder.run())
            if settings.rebuild_rules:
                group.create_task(_rebuilds(settings, catalog, clock).run())


def _rebuilds(settings: Settings, catalog: ImageCatalog, clock: Clock) -> Rebuilds:
    mirrors = Mirrors(settings.debian_mirror, settings.debian_security_mirror)
    plan = partial(make_plan, root=provisioning())
    newest = partial(newest_packages, mirrors=mirrors)
    return Rebuilds(settings.rebuild_rules, settings.rebuild_check_seconds, catalog, plan, newest, clock)
