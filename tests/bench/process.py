"""One process of a benchmark's service: `dayfly serve`, `api` or `worker` with other drivers; the engine; bare routes.

    python -m tests.bench.process engine|serve|api|worker|bare SOCKET

Settings (DAYFLY_…), signals (dayfly/process.py) and wiring (dayfly/app.py) are the service's. Run by fleet.py.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

from dayfly.clock import Clock
from dayfly.drivers.interfaces import Drivers, ExecResult
from dayfly.settings import Settings
from dayfly.testing.fakes import FakeImages, FakeKube, FakePressure, FakeSsh
from tests.bench.shared_engine import RemoteEngine, serve_engine
from tests.support.specs import make_manifest

IMAGE = "bare"
_DISK = ExecResult(0, b"1G-blocks\n1000000000\n", b"")


def main(role: str, socket: Path) -> None:
    settings = Settings()
    if role == "engine":
        asyncio.run(serve_engine(socket, settings.instance))
    elif role == "bare":
        from tests.bench import bare_api  # the other processes need nothing of it

        bare_api.serve(settings)
    else:
        serve(settings, role, socket)


def serve(settings: Settings, role: str, socket: Path) -> None:
    from dayfly import app, process  # the engine's process, which starts first, needs nothing of it
    from dayfly.controllers.engine_host import EngineHost

    @asynccontextmanager
    async def infrastructure(settings: Settings, clock: Clock) -> AsyncIterator[app.Infrastructure]:
        engine = await RemoteEngine.connect(socket)
        images = FakeImages()
        images.add_node_image(f"dayfly/{IMAGE}:latest", make_manifest().model_dump_json())
        images.run_result = _DISK
        host = EngineHost(engine, images, app.capacity_rules(settings))
        drivers = Drivers(engine, FakeSsh(), FakeKube(), engine.machines)
        # Never pressed: a benchmark keeps every CPU busy, but nothing boots that would have to wait for that.
        accelerators = app.accelerators_of(settings, images)
        yield app.Infrastructure(engine, images, drivers, host, FakePressure(), accelerators)  # type: ignore[arg-type]
        await engine.close()

    with patch.object(process, "open_infrastructure", infrastructure):
        asyncio.run(process.run(settings, api=role != "worker", worker=role != "api"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
