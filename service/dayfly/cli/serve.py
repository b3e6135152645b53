"""`dayfly serve`, `api` and `worker`, and the hidden `dayfly openapi`. Imported only on a server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from dayfly.api.app import document
from dayfly.cli.errors import CommandError
from dayfly.cli.server_settings import server_settings
from dayfly.cli.terminal import say
from dayfly.process import run

Address = Annotated[str | None, typer.Option(help="Listen address. Default: DAYFLY_LISTEN_ADDRESS, or 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Listen port. Default: DAYFLY_LISTEN_PORT, or 8700.")]


def serve(address: Address = None, port: Port = None) -> None:
    """Run the service: the API and a worker in one process, until SIGTERM or Ctrl-C. SQLite suffices."""
    _run(api=True, worker=True, listen_address=address, listen_port=port)


def api(address: Address = None, port: Port = None) -> None:
    """Run the API alone, on PostgreSQL. `dayfly worker` processes on the same database provision the clusters."""
    _run(api=True, worker=False, listen_address=address, listen_port=port)


def worker() -> None:
    """Run a worker alone. Any number of workers share one PostgreSQL database. A worker opens no port,
    except one for /metrics if DAYFLY_WORKER_METRICS_PORT is set.

    On SIGTERM a worker releases its leases at once. After SIGKILL its leases expire after DAYFLY_LEASE_SECONDS; then
    other workers continue.
    """
    _run(api=False, worker=True)


def openapi() -> None:
    """Print the API's OpenAPI document."""
    say(document(), nl=False)


def _run(*, api: bool, worker: bool, **given: Any) -> None:
    settings = server_settings(**{name: value for name, value in given.items() if value is not None})
    if settings.database_file is not None and not (api and worker):
        raise CommandError(
            "sqlite_serves_one_process",
            f"`dayfly {'api' if api else 'worker'}` needs PostgreSQL (DAYFLY_DATABASE_URL=postgresql+asyncpg://…): "
            f"SQLite ({settings.database_file}) serves one process, `dayfly serve`",
        )
    asyncio.run(run(settings, api=api, worker=worker))
