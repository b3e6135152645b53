"""The API's HTTP server: uvicorn, with bounds on connections and on open files. Not here: the process (process.py)."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn

from dayfly.api.app import create_api
from dayfly.api.connections import MAX_HEAD_BYTES, Connections
from dayfly.api.dependencies import ApiServices
from dayfly.errors import PortsExhausted
from dayfly.settings import Settings

BACKLOG: Final = 100
"""Connections that the kernel keeps for the server. asyncio accepts up to so many in one turn of the loop, before it
runs what closes others: a large backlog exhausts the open files.
"""
OTHER_FILES: Final = 1024
"""Open files beside connections: the accepted ones of some turns, the database, the engine, SSH."""

_log = structlog.get_logger(__name__)


class Server(uvicorn.Server):
    """Leaves signals to the process: uvicorn would delay them until its last response."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def create_server(services: ApiServices) -> Server:
    """The server of the API, for a socket of listening_socket(). `services.settings` has its limits."""
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
    return Server(
        uvicorn.Config(
            create_api(services),
            http=Connections(maximum, settings.header_timeout_seconds).protocol_class(),
            ws="none",
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Held responses (?wait=) end at once; other requests must not delay the end of the process.
            timeout_graceful_shutdown=3,
        )
    )


def listening_socket(settings: Settings) -> socket.socket:
    """A socket at the configured address. Raises PortsExhausted where it cannot be had."""
    address, port = settings.listen_address, settings.listen_port
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise PortsExhausted(
            f"the API cannot listen on port {port} at {address} (DAYFLY_LISTEN_PORT, DAYFLY_LISTEN_ADDRESS): "
            f"{os.strerror(error.errno) if error.errno else error}"
        ) from error


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
