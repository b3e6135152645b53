"""HTTP servers of the API and of a worker's metrics: uvicorn, with bounds on connections and on open files.

Not here: the process (process.py).
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI

from dayfly.api.app import create_api
from dayfly.api.connections import MAX_HEAD_BYTES, Connections
from dayfly.api.dependencies import ApiServices
from dayfly.api.tls_connections import TlsConnections
from dayfly.api.worker_metrics import create_metrics_app
from dayfly.errors import PortsExhausted
from dayfly.settings import Settings
from dayfly.tls.server_tls import ServerTls

BACKLOG: Final = 100
"""Connections that the kernel keeps for the server. asyncio accepts up to so many in one turn of the loop, before it
runs what closes others: a large backlog exhausts the open files.
"""
OTHER_FILES: Final = 1024
"""Open files beside connections: the accepted ones of some turns, the database, the engine, SSH."""
METRICS_CONNECTIONS: Final = 16
"""Open connections to a worker's metrics: as many as the least of `max_connections`."""

_log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """Leaves signals to the process: uvicorn would delay them until its last response."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def create_server(services: ApiServices, tls: ServerTls | None = None) -> Server:
    """The server of the API, for a socket of listening_socket(). `services.settings` has its limits.

    `tls`: the certificate, None for plain HTTP.
    """
    settings = services.settings
    maximum = min(settings.max_connections, connections_for(raise_file_limit(settings.max_connections + OTHER_FILES)))
    if maximum < settings.max_connections:
        _log.warning(
            "fewer connections than configured: the limit of open files is too low",
            maximum=maximum,
            configured=settings.max_connections,
        )
    # Short requests, such as heartbeats, are answered although as many responses are held as can be.
    services.held.maximum = min(services.held.maximum, maximum // 2)
    services.streams.maximum = min(services.streams.maximum, maximum // 4)
    return _server(create_api(services), maximum, settings, tls)


def create_metrics_server(settings: Settings, closing: asyncio.Event, tls: ServerTls | None = None) -> Server:
    """The server of a worker's metrics, for a socket of metrics_socket(); `tls` as for create_server."""
    return _server(create_metrics_app(settings, closing), METRICS_CONNECTIONS, settings, tls)


def _server(app: FastAPI, maximum: int, settings: Settings, tls: ServerTls | None) -> Server:
    seconds = settings.header_timeout_seconds
    connections = Connections(maximum, seconds)
    if tls is not None:
        connections = TlsConnections(maximum, seconds, context=lambda: tls.context)
    return Server(
        uvicorn.Config(
            app,
            http=connections.protocol_class(),
            ws="none",
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # The audit has the peer's address; a caller on this host could write any other one into these headers.
            proxy_headers=False,
            # Held responses (?wait=) end at once; other requests must not delay the end of the process.
            timeout_graceful_shutdown=3,
        )
    )


def listening_socket(settings: Settings) -> socket.socket:
    """A socket for the API at the configured address. Raises PortsExhausted where it cannot be had."""
    return _socket(settings.listen_address, settings.listen_port, "the API cannot listen", "DAYFLY_LISTEN_PORT")


def metrics_socket(settings: Settings, port: int) -> socket.socket:
    """A socket for a worker's metrics. Raises PortsExhausted where it cannot be had."""
    return _socket(settings.listen_address, port, "a worker's metrics cannot be served", "DAYFLY_WORKER_METRICS_PORT")


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A unix socket for the API at `path`, which its owner and root alone may use. Raises PortsExhausted."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_unused(path)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        reason = os.strerror(error.errno) if error.errno else error
        raise PortsExhausted(f"the API cannot listen on the socket {path} (DAYFLY_LISTEN_SOCKET): {reason}") from error
    with listening:
        try:
            yield listening
        finally:
            path.unlink(missing_ok=True)


def _remove_unused(path: Path) -> None:
    """Remove the socket of a process that was killed; that of one that listens, and any other file, stays."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


def _socket(address: str, port: int, failure: str, variable: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PortsExhausted(
            f"{failure} on port {port} at {address} ({variable}, DAYFLY_LISTEN_ADDRESS): "
            f"{os.strerror(error.errno) if error.errno else error}"
        ) from error
    # Connections inherit this; asyncio does not set it for them. Without it, a response's body waits until the caller
    # acknowledges the headers, which takes 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def connections_for(file_limit: int) -> int:
    """How many connections leave enough of so many open files for everything else."""
    return max(file_limit - OTHER_FILES, file_limit // 4)


def raise_file_limit(wanted: int) -> int:
    """Raise the process's limit of open files to `wanted`, as far as its hard limit allows; the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
