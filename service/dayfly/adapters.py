"""Adapters between routes or workers and the drivers (api/dependencies.py has their protocols).

Not here: how the processes are put together (app.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import platform
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from dayfly.api.dependencies import HostCapacity, MemoryUse, Orphan
from dayfly.clock import Clock
from dayfly.controllers import gc
from dayfly.controllers.gc import GarbageCollector
from dayfly.domain.cluster import naming, qemu_cmdline
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.image import SCHEMA_VERSION, ImageManifest
from dayfly.domain.scheduling.resources import CapacityRules, Resources
from dayfly.domain.template import template_key
from dayfly.drivers.interfaces import ContainerEngine, Drivers, ImageStore, Machines, PressureGauge
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer, probe_kvm
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import EngineRefused, Failure, ImageMissing, InfrastructureError, Internal, NotANodeImage
from dayfly.settings import Settings
from dayfly.steps.observe.diagnostics import collect
from dayfly.store import Store

_log = structlog.get_logger(__name__)

_DISK_SECONDS: Final = 30.0
_SEEN_BY_MACHINES: Final = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags")
"""Fields of /proc/cpuinfo."""


class Accelerators:
    """What an image's machines run on: asked of the machine once, then remembered."""

    def __init__(self, settings: Settings, images: ImageStore) -> None:
        self._settings, self._images = settings, images
        self._lock = asyncio.Lock()
        self._known: Accelerator | None = None

    async def accelerator(self, image_id: str) -> Accelerator:
        """Raises ImageMissing, EngineUnavailable."""
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


class TemplateKeys:
    """What a template must have been made with to serve a cluster here (api.services.TemplateKey)."""

    def __init__(self, accelerators: Accelerators) -> None:
        self._accelerators = accelerators

    async def __call__(self, spec: ClusterSpec, owner: str) -> str:
        """Raises ImageMissing, EngineUnavailable."""
        return template_key(spec, owner, await self._accelerators.accelerator(spec.image_id), host_processor())


@cache
def host_processor() -> str:
    """processor_of() this host."""
    return processor_of(Path("/proc/cpuinfo").read_text(), platform.release())


def processor_of(cpuinfo: str, kernel: str) -> str:
    """What machines on KVM see of a host, as a short hash: its processor with microcode and flags, and its kernel.

    `-cpu host` gives a machine what both have; QEMU loads a saved one safely only where neither has changed.
    """
    told = {}
    for line in cpuinfo.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        told[name.strip()] = value.strip()
    seen = [f"{name}={told.get(name, '')}" for name in _SEEN_BY_MACHINES]
    return hashlib.sha256("\n".join([*seen, kernel, platform.machine()]).encode()).hexdigest()[:16]


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
            manifest = ImageManifest.model_validate_json(label)
        except ValidationError as error:
            raise NotANodeImage(f"the manifest of {reference} is not of a version that this Dayfly knows") from error
        if manifest.schema_version < SCHEMA_VERSION:
            raise NotANodeImage(f"{reference} was baked by an older Dayfly: `dayfly image bake` makes it anew")
        return info.id, manifest


class SerialConsoles:
    """The serial consoles of nodes, living or kept as evidence (api.services.Consoles)."""

    def __init__(self, engine: ContainerEngine, store: Store) -> None:
        self._engine, self._store = engine, store

    async def read(self, cluster: Cluster, node: str, *, tail_bytes: int) -> bytes:
        name = naming.container_name(cluster.id, node)
        text = await self._engine.read_file(name, qemu_cmdline.CONSOLE_LOG, tail_bytes=tail_bytes)
        if not text:
            kept = (await self._store.evidence(cluster.id)).get(f"{node}/console", "")
            text = kept.encode()[-tail_bytes:]
        return text

    async def stream(self, cluster: Cluster, node: str) -> AsyncIterator[bytes]:
        name = naming.container_name(cluster.id, node)
        async with self._engine.open(name, ["socat", "-", f"UNIX-CONNECT:{qemu_cmdline.CONSOLE_SOCKET}"]) as stream:
            while chunk := await stream.read():
                yield chunk


class MachineMemory:
    """What machines have of the host's memory (api.services.MemoryGauge)."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def read(self, cluster: Cluster, node: str) -> MemoryUse | None:
        try:
            found = await self._machines.memory(naming.container_name(cluster.id, node))
        except (Failure, InfrastructureError) as error:
            if isinstance(error, Internal):
                raise
            _log.info("a machine's memory is not known", cluster=cluster.id, node=node, reason=error.message)
            return None
        return MemoryUse(found.shared, found.private, found.proportional)


class LiveDiagnostics:
    """What a cluster's containers and nodes tell of themselves now (api.services.Diagnostics)."""

    def __init__(self, drivers: Drivers, store: Store, instance: str, gauge: PressureGauge, clock: Clock) -> None:
        self._drivers, self._store, self._instance = drivers, store, instance
        self._gauge, self._clock = gauge, clock

    async def collect(self, cluster: Cluster) -> Mapping[str, str]:
        # Only the containers' names matter, and these are the same with any accelerator and publication.
        topology = compute_topology(
            cluster.id, cluster.spec, instance=self._instance, accelerator="tcg", publication=Publication()
        )
        secrets = await self._store.secrets(cluster.id)
        # Connections of its own, which end with it: kept alive they would count as somebody who uses the cluster
        # (steps/observe/traffic.py), and nobody else could close them.
        ssh = SshConnections()
        try:
            return await collect(replace(self._drivers, ssh=ssh), topology, secrets, self._gauge, self._clock)
        finally:
            await ssh.close()


class Orphans:
    """Garbage collection on the engine (api/dependencies.OrphanCollector)."""

    def __init__(self, collector: GarbageCollector) -> None:
        self._collector = collector

    async def find(self) -> tuple[Orphan, ...]:
        return tuple(_shown(orphan, None) for orphan in await self._collector.orphans())

    async def remove(self) -> tuple[Orphan, ...]:
        return tuple([_shown(orphan, await self._failure(orphan)) for orphan in await self._collector.orphans()])

    async def _failure(self, orphan: gc.Orphan) -> str | None:
        try:
            await self._collector.remove(orphan)
        except Failure as error:
            return error.message
        return None


def _shown(orphan: gc.Orphan, error: str | None) -> Orphan:
    found = orphan.resource
    return Orphan(found.kind, found.name, found.cluster_id or None, found.template_id or None, orphan.why, error)


class EngineHost:
    """The host that the engine runs on (api.services.Host), and what of it is for clusters."""

    def __init__(self, engine: ContainerEngine, images: ImageStore, rules: CapacityRules) -> None:
        self._engine, self._images, self.rules = engine, images, rules
        self._known: HostCapacity | None = None

    async def host(self) -> HostCapacity:
        """Remembered, for requests wait for it."""
        if self._known is None:
            info = await self._engine.info()
            self._known = HostCapacity(
                cpus=info.cpus, memory_mib=info.memory_bytes // 2**20, disk_gib=await self._disk_gib()
            )
        return self._known

    async def offered(self) -> Resources:
        """What clusters may have in all."""
        host = await self.host()
        return self.rules.offered(Resources(host.cpus, host.memory_mib, host.disk_gib))

    async def answers(self) -> None:
        """Raises EngineUnavailable when the engine does not answer now."""
        await self._engine.info()

    async def _disk_gib(self) -> int:
        """The size of the file system that containers write to, as a container sees it: the engine may be elsewhere."""
        images = await self._images.list(label=naming.LABEL_IMAGE)
        if not images:
            raise ImageMissing("there is no node image yet: `dayfly image bake` makes one")
        ended = await self._images.run(
            images[0].id, ["df", "--block-size=1G", "--output=size", "/"], timeout=_DISK_SECONDS
        )
        if ended is None or ended.exit_code != 0:
            raise EngineRefused("a container cannot tell how large the engine's disk is")
        return int(ended.stdout.split()[-1])
