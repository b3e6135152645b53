"""`dayfly serve`, `api`, `worker` and `builder`, and the hidden `dayfly openapi`. Imported only on a server."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from dayfly.api.app import document
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.server_settings import server_settings
from dayfly.cli.terminal import say
from dayfly.process import run
from dayfly.settings import Settings

Address = Annotated[str | None, typer.Option(help="Listen address. Default: DAYFLY_LISTEN_ADDRESS, or 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Listen port. Default: DAYFLY_LISTEN_PORT, or 8700.")]


def serve(address: Address = None, port: Port = None) -> None:
    """Run the service: the API and a worker in one process, until SIGTERM or Ctrl-C. SQLite suffices. With
    DAYFLY_BAKES=serve it carries out bakes, too."""
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


def builder() -> None:
    """Run a builder alone: it carries out the bakes that callers request over HTTP. It needs PostgreSQL, and what
    `dayfly image bake` needs on a host: root and the tools of a bake. With SQLite, use `dayfly serve` with
    DAYFLY_BAKES=serve.

    On SIGTERM a builder ends its bakes, and queues them again. After SIGKILL another builder, or the same one after its
    restart, begins them again after DAYFLY_LEASE_SECONDS, and takes complete phases from its cache.
    """
    _run(api=False, worker=False, builder=True)


def openapi() -> None:
    """Print the API's OpenAPI document."""
    say(document(), nl=False)


def _run(*, api: bool, worker: bool, builder: bool = False, **given: Any) -> None:
    settings = server_settings(**{name: value for name, value in given.items() if value is not None})
    _check_bakes(settings, api=api, worker=worker)
    if settings.database_file is not None and not (api and worker):
        command = "builder" if builder else "api" if api else "worker"
        raise CommandError(
            "sqlite_serves_one_process",
            f"`dayfly {command}` needs PostgreSQL (DAYFLY_DATABASE_URL=postgresql+asyncpg://…): "
            f"SQLite ({settings.database_file}) serves one process, `dayfly serve`",
        )
    builds = builder or (api and worker and settings.bakes == "serve")
    asyncio.run(run(settings, api=api, worker=worker, builder=builds))


def _check_bakes(settings: Settings, *, api: bool, worker: bool) -> None:
    """Raises CommandError where requests for bakes would be accepted, and no process could carry them out."""
    detail = None
    if settings.bakes == "serve" and api and not worker:
        detail = (
            "DAYFLY_BAKES=serve is for `dayfly serve`: use `separate`, and run `dayfly builder` on a host for bakes"
        )
    if settings.bakes == "separate" and api and settings.database_file is not None:
        detail = "DAYFLY_BAKES=separate needs PostgreSQL (DAYFLY_DATABASE_URL): with SQLite, use `serve`"
    if detail is not None:
        raise CommandError("bad_settings", detail, exit_code=ExitCode.USAGE)
