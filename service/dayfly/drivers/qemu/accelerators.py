"""What VMs of this host run on: KVM or emulation, and the processor that saved ones depend on."""

from __future__ import annotations

import asyncio
import hashlib
import platform
from functools import cache
from pathlib import Path
from typing import Final, Literal

import structlog

from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.template import template_key
from dayfly.drivers.interfaces import ImageStore
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer, probe_kvm

_log = structlog.get_logger(__name__)

_SEEN_BY_MACHINES: Final = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags")
"""Fields of /proc/cpuinfo."""


class Accelerators:
    """The accelerator of each image, probed once and cached."""

    def __init__(self, images: ImageStore, setting: Literal["auto", "kvm", "tcg"], cache_file: Path) -> None:
        self._images, self._setting, self._cache_file = images, setting, cache_file
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
        return await probe_kvm(self._images, image_id, setting=self._setting, cache_file=self._cache_file)

    async def test_kvm(self, image_id: str) -> AcceleratorAnswer:
        """What a test of KVM finds, whatever the setting is."""
        return await probe_kvm(self._images, image_id, cache_file=self._cache_file)

    async def template_key(self, spec: ClusterSpec, owner: str) -> str:
        """domain.template.template_key on this host. Raises ImageMissing, EngineUnavailable."""
        return template_key(spec, owner, await self.accelerator(spec.image_id), host_processor())


@cache
def host_processor() -> str:
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
