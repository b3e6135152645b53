"""Helpers of the image commands: stores, tools and interruption. Not here: any command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dayfly.app import STEPS, open_infrastructure
from dayfly.cli.signals import run_interruptible
from dayfly.cli.terminal import say
from dayfly.clock import SystemClock
from dayfly.domain.cluster.topology import Publication
from dayfly.domain.image import ImageManifest
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.interfaces import Drivers
from dayfly.drivers.qemu.accelerators import Accelerators
from dayfly.errors import DayflyError
from dayfly.images.cloud.machine import MachineHost
from dayfly.images.progress import OnLine
from dayfly.settings import Settings
from dayfly.verification import Verifier


@dataclass(frozen=True)
class ImageTools:
    """The engine's images, and the drivers that verify one."""

    settings: Settings
    images: DockerImages
    drivers: Drivers
    accelerators: Accelerators

    @property
    def machine_host(self) -> MachineHost:
        """Where the machines of bakes on cloud images run: beside those that verify images."""
        return MachineHost(
            self.drivers.engine,
            self.drivers.ssh,
            self.accelerators.accelerator,
            self.settings.instance,
            self._publication,
        )

    @property
    def _publication(self) -> Publication:
        return Publication(self.settings.publish_address, self.settings.port_range)

    async def verify(
        self, image_id: str, manifest: ImageManifest, progress: OnLine, *, conformance: Collection[str] | None = None
    ) -> None:
        """Verify a baked image (images.bake.Verify) with this host's accelerator. `conformance` as in BakeOrder."""
        accelerator = await self.accelerators.accelerator(image_id)
        progress(f"nodes run on {accelerator}")
        verifier = Verifier(self.settings.instance, self.drivers, STEPS, accelerator, self._publication, SystemClock())
        await verifier(image_id, manifest, progress, conformance=conformance)


@asynccontextmanager
async def open_tools(settings: Settings) -> AsyncIterator[ImageTools]:
    own = settings.of_bakes
    async with open_infrastructure(own, SystemClock()) as infrastructure:
        yield ImageTools(own, infrastructure.images, infrastructure.drivers, infrastructure.accelerators)


def run_command(work: Coroutine[Any, Any, None], interrupted: str = "interrupted") -> None:
    """Run `work`; print the evidence of a failure before the failure. On an interruption, print `interrupted`."""
    try:
        run_interruptible(work, interrupted)
    except DayflyError as error:
        for name, text in error.evidence.items():
            say(f"--- {name}\n{text}", err=True)
        raise
