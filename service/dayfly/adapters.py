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
    """The accelerator of this host, probed once and cached."""

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
        """Probe with any node image: the accelerator and the reason."""
        return await probe_kvm(
            self._images,
            image_id,
            setting=self._settings.accelerator,
            cache_file=self._settings.state_dir / "kvm-probe.json",
        )


class TemplateKeys:
    """Keys of templates that match a spec on this host (api/dependencies.TemplateKey)."""

    def __init__(self, accelerators: Accelerators) -> None:
        self._accelerators = accelerators

    async def __call__(self, spec: ClusterSpec, owner: str) -> str:
        """Raises ImageMissing, EngineUnavailable."""
        return template_key(spec, owner, await self._accelerators.accelerator(spec.image_id), host_processor())


@cache
def host_processor() -> str:
    """processor_of() for this host."""
    return processor_of(Path("/proc/cpuinfo").read_text(), platform.release())


def processor_of(cpuinfo: str, kernel: str) -> str:
    """A short hash of the host's processor (with microcode and flags) and kernel.

    With `-cpu host`, a VM depends on both; QEMU restores a snapshot safely only if neither has changed.
    """
    fields = {}
    for line in cpuinfo.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    seen = [f"{name}={fields.get(name, '')}" for name in _SEEN_BY_MACHINES]
    return hashlib.sha256("\n".join([*seen, kernel, platform.machine()]).encode()).hexdigest()[:16]


class Catalog:
    """The node images on the engine (api/dependencies.ImageCatalog)."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        try:
            info = await self._images.inspect(reference)
        except ImageMissing as error:
            hint = f"{error.message}; `dayfly image list` lists the images, `dayfly image bake` bakes an image"
            raise ImageMissing(hint) from error
        label = info.labels.get(naming.LABEL_IMAGE)
        if label is None:
            raise NotANodeImage(f"image {reference} has no manifest: Dayfly did not bake this image")
        try:
            manifest = ImageManifest.model_validate_json(label)
        except ValidationError as error:
            raise NotANodeImage(f"the manifest of image {reference} has a version unknown to this Dayfly") from error
        if manifest.schema_version < SCHEMA_VERSION:
            raise NotANodeImage(f"an older Dayfly baked image {reference}: bake it again with `dayfly image bake`")
        return info.id, manifest


class SerialConsoles:
    """The serial consoles of nodes, live or from evidence (api/dependencies.Consoles)."""

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
    """The VMs' memory on the host (api/dependencies.MemoryGauge)."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def read(self, cluster: Cluster, node: str) -> MemoryUse | None:
        try:
            found = await self._machines.memory(naming.container_name(cluster.id, node))
        except (Failure, InfrastructureError) as error:
            if isinstance(error, Internal):
                raise
            _log.info("memory of a VM is unknown", cluster=cluster.id, node=node, reason=error.message)
            return None
        return MemoryUse(found.shared, found.private, found.proportional)


class LiveDiagnostics:
    """Diagnostics from a cluster's containers and nodes (api/dependencies.Diagnostics)."""

    def __init__(self, drivers: Drivers, store: Store, instance: str, gauge: PressureGauge, clock: Clock) -> None:
        self._drivers, self._store, self._instance = drivers, store, instance
        self._gauge, self._clock = gauge, clock

    async def collect(self, cluster: Cluster) -> Mapping[str, str]:
        # Diagnostics use only the containers' names, which do not depend on accelerator and publication.
        topology = compute_topology(
            cluster.id, cluster.spec, instance=self._instance, accelerator="tcg", publication=Publication()
        )
        secrets = await self._store.secrets(cluster.id)
        # Separate connections, closed at the end: open connections count as use of the cluster
        # (steps/observe/traffic.py).
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
    """The engine's host (api/dependencies.Host), and its resources for clusters."""

    def __init__(self, engine: ContainerEngine, images: ImageStore, rules: CapacityRules) -> None:
        self._engine, self._images, self.rules = engine, images, rules
        self._known: HostCapacity | None = None

    async def host(self) -> HostCapacity:
        """Cached, because requests wait for it."""
        if self._known is None:
            info = await self._engine.info()
            self._known = HostCapacity(
                cpus=info.cpus, memory_mib=info.memory_bytes // 2**20, disk_gib=await self._disk_gib()
            )
        return self._known

    async def offered(self) -> Resources:
        """The host's total resources for clusters."""
        host = await self.host()
        return self.rules.offered(Resources(host.cpus, host.memory_mib, host.disk_gib))

    async def answers(self) -> None:
        """Raises EngineUnavailable when the engine does not answer now."""
        await self._engine.info()

    async def _disk_gib(self) -> int:
        """Size of the containers' file system, measured in a container: the engine may run on another machine."""
        images = await self._images.list(label=naming.LABEL_IMAGE)
        if not images:
            raise ImageMissing("the engine has no node image: bake one with `dayfly image bake`")
        ended = await self._images.run(
            images[0].id, ["df", "--block-size=1G", "--output=size", "/"], timeout=_DISK_SECONDS
        )
        if ended is None or ended.exit_code != 0:
            raise EngineRefused("the size of the engine's disk could not be measured: `df` failed in a container")
        return int(ended.stdout.split()[-1])
