"""`dayfly serve`, `api` and `worker`, and the hidden `dayfly openapi`. Imported only on a server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from dayfly import app as server
from dayfly.api.openapi import document
from dayfly.cli.errors import CommandError
from dayfly.cli.server_settings import server_settings

Address = Annotated[str | None, typer.Option(help="(else DAYFLY_LISTEN_ADDRESS, else 127.0.0.1)")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="(else DAYFLY_LISTEN_PORT, else 8700)")]


def serve(address: Address = None, port: Port = None) -> None:
    """Run the service: the API and a worker, in one process, until it is told to stop. SQLite is enough for it."""
    _run(api=True, worker=True, listen_address=address, listen_port=port)


def api(address: Address = None, port: Port = None) -> None:
    """Run the API alone, on PostgreSQL; clusters are made by `dayfly worker` processes on the same database."""
    _run(api=True, worker=False, listen_address=address, listen_port=port)


def worker() -> None:
    """Run a worker alone: any number of them share one PostgreSQL database. It opens no port.

    Told to stop (SIGTERM), it hands its clusters to the other workers at once. Killed, it costs them one lease's time
    (DAYFLY_LEASE_SECONDS).
    """
    _run(api=False, worker=True)


def openapi() -> None:
    """Print the API's OpenAPI document."""
    typer.echo(document(), nl=False)


def _run(*, api: bool, worker: bool, **given: Any) -> None:
    settings = server_settings(**{name: value for name, value in given.items() if value is not None})
    if settings.database_file is not None and not (api and worker):
        raise CommandError(
            "sqlite_serves_one_process",
            f"`dayfly {'api' if api else 'worker'}` needs PostgreSQL (DAYFLY_DATABASE_URL=postgresql+asyncpg://…): "
            f"SQLite ({settings.database_file}) serves one process, `dayfly serve`",
        )
    asyncio.run(server.run(settings, api=api, worker=worker))
