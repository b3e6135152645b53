"""The composition root: settings → store, drivers, steps → API and worker. The one file that knows every layer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
import uvicorn
from pydantic import ValidationError

from dayfly.api.app import create_api
from dayfly.api.services import ApiServices, HostCapacity
from dayfly.clock import Clock, SystemClock
from dayfly.domain import naming, qemu
from dayfly.domain.cluster import Cluster
from dayfly.domain.image import ImageManifest
from dayfly.domain.limits import Accelerator
from dayfly.domain.topology import Publication
from dayfly.drivers.docker import DockerEngine
from dayfly.drivers.docker_images import DockerImages
from dayfly.drivers.kube import KubeClient
from dayfly.drivers.kvm import AcceleratorAnswer, probe_kvm
from dayfly.drivers.protocols import ContainerEngine, Drivers, ImageStore
from dayfly.drivers.ssh import SshConnections
from dayfly.engine.boot import Boot
from dayfly.engine.control_plane import ControlPlane
from dayfly.engine.join import Join
from dayfly.engine.ready import Ready
from dayfly.engine.sandbox import Sandbox
from dayfly.engine.smoke import Smoke
from dayfly.engine.step import Step
from dayfly.errors import ImageMissing, NotANodeImage
from dayfly.reconcile.reconciler import Installation, Reconciler
from dayfly.reconcile.walk import Patience
from dayfly.reconcile.worker import Worker, WorkerOptions
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.telemetry import configure_logging

_log = structlog.get_logger(__name__)

STEPS: Final[Mapping[str, Step]] = {
    "sandbox": Sandbox(),
    "boot": Boot(),
    "control_plane": ControlPlane(),
    "join": Join(),
    "ready": Ready(),
    "smoke": Smoke(),
}


@dataclass(frozen=True)
class Outside:
    """The drivers of one process."""

    engine: DockerEngine
    images: DockerImages
    drivers: Drivers


@asynccontextmanager
async def open_outside(settings: Settings, clock: Clock) -> AsyncIterator[Outside]:
    """Connections to the outside world; made on first use, closed at the end."""
    async with AsyncExitStack() as stack:
        engine = DockerEngine(settings.docker_host, instance=settings.instance, clock=clock)
        stack.push_async_callback(engine.close)
        images = DockerImages(settings.docker_host)
        stack.push_async_callback(images.close)
        ssh = SshConnections()
        stack.push_async_callback(ssh.close)
        yield Outside(engine, images, Drivers(engine, ssh, KubeClient()))


def installation_of(settings: Settings) -> Installation:
    """What all clusters of this installation have in common."""
    return Installation(
        instance=settings.instance,
        publication=Publication(settings.publish_address, settings.port_range),
        advertised=settings.advertised,
        boot_limit_seconds=settings.boot_limit_seconds,
    )


def reconciler_of(
    settings: Settings, store: Store, outside: Outside, clock: Clock, steps: Mapping[str, Step] = STEPS
) -> Reconciler:
    """A reconciler over these drivers."""
    patience = Patience(settings.step_attempts, settings.retry_backoff_seconds, settings.engine_patience_seconds)
    accelerators = Accelerators(settings, outside.images)
    return Reconciler(
        store, outside.drivers, steps, installation_of(settings), accelerators.accelerator, patience, clock
    )


def worker_of(settings: Settings, store: Store, reconciler: Reconciler, clock: Clock) -> Worker:
    """A worker of this process."""
    options = WorkerOptions(
        settings.worker_name, settings.worker_concurrency, settings.lease_seconds, settings.poll_seconds
    )
    return Worker(store, reconciler, options, clock)


def services_of(settings: Settings, store: Store, outside: Outside, clock: Clock) -> ApiServices:
    """What the API is handed."""
    host = EngineHost(outside.engine)
    return ApiServices(
        store=store,
        images=Catalog(outside.images),
        consoles=SerialConsoles(outside.engine, store),
        host=host,
        clock=clock,
        max_ttl_seconds=settings.max_ttl_seconds,
        checks={"database": store.ping, "engine": host.answers},
        allowed_hosts=settings.allowed_hosts,
    )


async def serve(settings: Settings) -> None:
    """API and worker in one process, until SIGTERM or SIGINT; then leases are given back and connections closed."""
    configure_logging(settings)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = await Store.open(settings.database)
        stack.push_async_callback(store.close)
        outside = await stack.enter_async_context(open_outside(settings, clock))
        worker = worker_of(settings, store, reconciler_of(settings, store, outside, clock), clock)
        server = uvicorn.Server(
            uvicorn.Config(
                create_api(services_of(settings, store, outside, clock)),
                host=settings.listen_address,
                port=settings.listen_port,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # Answers that are held (?wait=) must not hold the end of the process.
                timeout_graceful_shutdown=3,
            )
        )
        _end_by_signal(server)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run())
            working.add_done_callback(lambda _: setattr(server, "should_exit", True))
            await server.serve()
            working.cancel()


def _end_by_signal(server: uvicorn.Server) -> None:
    """uvicorn raises a captured signal again when it has ended; our own handlers keep that from killing the rest."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)


class Accelerators:
    """What an image's machines run on: asked of the machine once, then remembered."""

    def __init__(self, settings: Settings, images: ImageStore) -> None:
        self._settings, self._images = settings, images
        self._lock = asyncio.Lock()
        self._known: Accelerator | None = None

    async def accelerator(self, image_id: str) -> Accelerator:
        """Raises ImageMissing, DockerUnavailable."""
        async with self._lock:
            if self._known is None:
                answer = await self.probe(image_id)
                _log.info("accelerator", accelerator=answer.accelerator, reason=answer.reason)
                self._known = answer.accelerator
            return self._known

    async def probe(self, image_id: str) -> AcceleratorAnswer:
        """The answer with its reason; any node image will do."""
        return await probe_kvm(
            self._images,
            image_id,
            setting=self._settings.accelerator,
            cache_file=self._settings.state_dir / "kvm-probe.json",
        )


class Catalog:
    """The node images on the engine (api.services.ImageCatalog)."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        try:
            info = await self._images.inspect(reference)
        except ImageMissing as error:
            hint = f"{error.message}; `dayfly image list` shows what there is, `dayfly image bake` makes one"
            raise ImageMissing(hint) from error
        label = info.labels.get(naming.LABEL_IMAGE)
        if label is None:
            raise NotANodeImage(f"{reference} is an image, but not one that Dayfly baked: it has no manifest")
        try:
            return info.id, ImageManifest.model_validate_json(label)
        except ValidationError as error:
            raise NotANodeImage(f"the manifest of {reference} is not of a version that this Dayfly knows") from error


class SerialConsoles:
    """The serial consoles of nodes, living or kept as evidence (api.services.Consoles)."""

    def __init__(self, engine: ContainerEngine, store: Store) -> None:
        self._engine, self._store = engine, store

    async def read(self, cluster: Cluster, node: str, *, tail_bytes: int) -> bytes:
        name = naming.container_name(cluster.id, node)
        text = await self._engine.read_file(name, qemu.CONSOLE_LOG, tail_bytes=tail_bytes)
        if not text:
            kept = (await self._store.evidence(cluster.id)).get(f"{node}/console", "")
            text = kept.encode()[-tail_bytes:]
        return text

    async def stream(self, cluster: Cluster, node: str) -> AsyncIterator[bytes]:
        name = naming.container_name(cluster.id, node)
        async with self._engine.open(name, ["socat", "-", f"UNIX-CONNECT:{qemu.CONSOLE_SOCKET}"]) as stream:
            while chunk := await stream.read():
                yield chunk


class EngineHost:
    """The host that the engine runs on (api.services.Host)."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine
        self._known: HostCapacity | None = None

    async def host(self) -> HostCapacity:
        if self._known is None:
            info = await self._engine.info()
            self._known = HostCapacity(cpus=info.cpus, memory_mib=info.memory_bytes // 2**20)
        return self._known

    async def answers(self) -> None:
        """Raises DockerUnavailable when the engine does not answer now."""
        await self._engine.info()
