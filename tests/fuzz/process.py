"""A service process for the fuzz runs: `dayfly serve` with fakes in place of the engine, SSH and Kubernetes.

    python -m tests.fuzz.process

Settings (DAYFLY_…), signals (dayfly/process.py), wiring (dayfly/app.py) and controllers are the service's. Bakes are
played (tests/support/played_bakes.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final
from unittest.mock import patch

from dayfly import app, process
from dayfly.clock import Clock
from dayfly.controllers.engine_host import EngineHost
from dayfly.domain.cluster.qemu_cmdline import CONSOLE_SOCKET
from dayfly.drivers.interfaces import ByteStream, Drivers, ExecResult, ImageInfo
from dayfly.errors import ContainerExited
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.testing.fakes import FakeEngine, FakeImages, FakeKube, FakeMachines, FakePressure, FakeSsh
from tests.support.played_bakes import played_builder
from tests.support.specs import make_manifest

_DISK: Final = ExecResult(0, b"1G-blocks\n1000000000\n", b"")
_CPUS: Final = 64
_MEMORY_BYTES: Final = 2**38


class AnyImage(FakeImages):
    """Every reference is one of the images, so that a generated request is not refused for want of its image."""

    def _get(self, reference: str) -> ImageInfo:
        images = list(self.stored.values())
        known = (one for one in images if reference == one.id or reference in one.references)
        return next(known, images[len(reference) % len(images)])


class SilentConsoles(FakeEngine):
    """Followed consoles print nothing more."""

    @asynccontextmanager
    async def open(self, name: str, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        if any(CONSOLE_SOCKET in argument for argument in argv):
            raise ContainerExited(f"{name} prints nothing more")
        async with super().open(name, argv) as stream:
            yield stream


@asynccontextmanager
async def infrastructure(settings: Settings, clock: Clock) -> AsyncIterator[app.Infrastructure]:
    """In place of app.open_infrastructure."""
    engine = SilentConsoles(instance=settings.instance)
    engine.host = replace(engine.host, cpus=_CPUS, memory_bytes=_MEMORY_BYTES)
    images = AnyImage()
    images.run_result = _DISK
    for name, manifest in {
        "bare": make_manifest(),
        "k8s": make_manifest(kubernetes=True),
        "tested": make_manifest(conformance=True),
    }.items():
        images.add_node_image(f"dayfly/{name}:latest", manifest.model_dump_json())
    host = EngineHost(engine, images, app.capacity_rules(settings))
    drivers = Drivers(engine, FakeSsh(), FakeKube(), FakeMachines(engine))
    accelerators = app.accelerators_of(settings, images)
    yield app.Infrastructure(engine, images, drivers, host, FakePressure(), accelerators)  # type: ignore[arg-type]


async def builder(settings: Settings, store: Store, clock: Clock) -> None:
    """In place of app.run_builder."""
    await played_builder(store).run()


def main() -> None:
    with patch.object(process, "open_infrastructure", infrastructure), patch.object(process, "run_builder", builder):
        asyncio.run(process.run(Settings(), api=True, worker=True, builder=True))


if __name__ == "__main__":
    main()
