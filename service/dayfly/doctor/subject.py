"""Opens the subject of an examination, with the drivers of the service itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from dayfly.app import Infrastructure, open_infrastructure
from dayfly.clock import SystemClock
from dayfly.doctor.examine import Subject
from dayfly.doctor.packages import needed_suites
from dayfly.doctor.registry_caches import check_registry_caches
from dayfly.doctor.tls import check_tls
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.drivers.docker.engine_address import engine_address
from dayfly.drivers.qemu.kvm_probe import AcceleratorAnswer
from dayfly.errors import EngineUnavailable
from dayfly.images.apt import find_sources
from dayfly.images.apt_sources import Mirrors
from dayfly.settings import Settings
from dayfly.store import Store


@asynccontextmanager
async def open_subject(settings: Settings) -> AsyncIterator[Subject]:
    """This host with `settings`. Connections are closed at the end of the block."""

    async def ping_database() -> None:
        # The service migrates when it starts: an examination changes nothing.
        store = await Store.open(settings.database, migrating=False)
        try:
            await store.ping()
        finally:
            await store.close()

    clock = SystemClock()
    mirrors = Mirrors(settings.debian_mirror, settings.debian_security_mirror)
    async with open_infrastructure(settings, clock) as infrastructure:
        yield Subject(
            engine_info=infrastructure.engine.info,
            node_images=partial(infrastructure.images.list, label=LABEL_IMAGE),
            probe=lambda: _probe(infrastructure),
            ping_database=ping_database,
            database_file=settings.database_file,
            wanted=settings.accelerator,
            state_dir=settings.state_dir,
            cache_dir=settings.cache_dir,
            engine_address=_address(settings),
            needed_suites=needed_suites(),
            loopback_is_operator=settings.loopback_is_operator,
            find_sources=lambda need: find_sources(need.suite, backports=need.backports, mirrors=mirrors),
            check_caches=partial(check_registry_caches, settings, infrastructure.engine) if settings.caches else None,
            check_tls=lambda: check_tls(settings, clock.now()),
        )


def _address(settings: Settings) -> tuple[str, str | None] | None:
    try:
        found = engine_address(settings.docker_host)
    except EngineUnavailable:
        return None  # the engine's driver says why
    return found.url, found.source


async def _probe(infrastructure: Infrastructure) -> AcceleratorAnswer | None:
    """Boot the kernel of any node image; None when there is no image yet."""
    images = await infrastructure.images.list(label=LABEL_IMAGE)
    return await infrastructure.accelerators.test_kvm(images[0].id) if images else None
