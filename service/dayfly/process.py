"""The process of `dayfly serve`, `api`, `worker` and `builder`: runs one or several of them, until SIGTERM or SIGINT.

Not here: what the API, the worker and the builder are made of (app.py), and the HTTP server (api/server.py).
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog

from dayfly.addresses import is_loopback
from dayfly.api.server import (
    Server,
    create_metrics_server,
    create_server,
    listening_socket,
    metrics_socket,
    unix_socket,
)
from dayfly.app import open_infrastructure, run_builder, services_of, worker_jobs
from dayfly.clock import Clock, SystemClock
from dayfly.controllers.serving import ServingRecord
from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.security.server_authority import fingerprint
from dayfly.errors import DatabaseUnavailable
from dayfly.key_sources import key_source
from dayfly.operator_token import prepare_access
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.telemetry import configure_logging
from dayfly.tls.server_tls import server_tls

_log = structlog.get_logger(__name__)

_DATABASE_PAUSE_SECONDS: Final = 1.0
_WITHOUT_TLS: Final = "the API listens without TLS: what callers and the API send can be read on the way (DAYFLY_TLS)"


async def run(settings: Settings, *, api: bool, worker: bool, builder: bool = False) -> None:
    """Run the API, a worker, a builder, or several of them in one process, until SIGTERM or SIGINT.

    A stopping worker cancels its steps and releases its leases at once; a stopping builder ends its bakes.
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
        # Before anything begins: a taken address, an unusable certificate or a file with an error ends this process.
        listener = stack.enter_context(listening_socket(settings)) if api else None
        services = services_of(settings, store, infrastructure, clock) if api else None
        listeners = [] if listener is None else [listener]
        if api and settings.listen_socket is not None:
            listeners.append(stack.enter_context(unix_socket(settings.listen_socket)))
        jobs: list[Coroutine[Any, Any, None]] = []
        tls = server_tls(settings, clock) if api or settings.worker_metrics_port is not None else None
        if tls is not None:
            await tls.start()
            jobs.append(tls.run())
        elif api and not is_loopback(settings.listen_address):
            _log.warning(_WITHOUT_TLS, address=settings.listen_address)
        if api:
            await prepare_access(settings, store)
            serving = ServingRecord(store, clock)
            # Before a worker of this process can expire a cluster.
            await serving.record()
            jobs.append(serving.run())
        if not api and settings.worker_metrics_port is not None:
            scraped = stack.enter_context(metrics_socket(settings, settings.worker_metrics_port))
            closing = asyncio.Event()
            jobs.append(_serve(create_metrics_server(settings, closing, tls), closing, [scraped]))
        if worker:
            jobs += worker_jobs(settings, store, infrastructure, clock)
        if builder:
            jobs.append(run_builder(settings, store, clock))
        if listener is not None and services is not None:
            jobs.append(_serve(create_server(services, tls), services.closing, listeners))
        _log.info(
            "started",
            api=api,
            worker=worker,
            builder=builder,
            instance=settings.instance,
            loopback_is_operator=settings.loopback_is_operator,
            name=settings.worker_name,
            **({"listens": str(Endpoint(*listener.getsockname()[:2]))} if listener is not None else {}),
            **({"tls": settings.tls, "fingerprint": fingerprint(tls.certificate.pem)} if tls is not None else {}),
        )
        await _until(stop, jobs)
        _log.info("stopped")


async def open_store(settings: Settings, clock: Clock, stop: asyncio.Event) -> Store | None:
    """Open the store, with retries while PostgreSQL does not answer; None if `stop` is set meanwhile.

    A SQLite file is not retried: raises DatabaseUnavailable, DatabaseInUse. Raises SecretsKeyMissing and
    SecretsKeyUnusable.
    """
    while not stop.is_set():
        try:
            return await Store.open(settings.database, key_source(settings))
        except DatabaseUnavailable as error:
            if settings.database_file is not None:
                raise
            _log.warning("waiting for the database", reason=error.for_operator)
            await clock.sleep(_DATABASE_PAUSE_SECONDS)
    return None


async def _until(stop: asyncio.Event, jobs: list[Coroutine[Any, Any, None]]) -> None:
    """Run all jobs until `stop` is set or one job ends; then cancel the rest."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(job) for job in jobs]
        stopping = group.create_task(stop.wait())
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        _log.info("stopping")
        for task in (*running, stopping):
            task.cancel()


async def _serve(server: Server, closing: asyncio.Event, listeners: list[socket.socket]) -> None:
    """Serve HTTP on `listeners` until cancelled. `closing` as in ApiServices."""
    serving = asyncio.ensure_future(server.serve(sockets=listeners))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        closing.set()
        server.should_exit = True
        await serving
        raise
