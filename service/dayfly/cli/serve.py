"""`dayfly serve`, and the hidden `dayfly openapi`. Imported only where a server is wanted."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from dayfly import app as server
from dayfly.api.openapi import document
from dayfly.cli.complaints import CommandError
from dayfly.settings import Settings


def serve(
    address: Annotated[str | None, typer.Option(help="(else DAYFLY_LISTEN_ADDRESS, else 127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="(else DAYFLY_LISTEN_PORT, else 8700)")] = None,
) -> None:
    """Run the service: the API and a worker, in one process, until it is told to stop."""
    given: dict[str, Any] = {"listen_address": address, "listen_port": port}
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(
            f"DAYFLY_{'_'.join(str(part) for part in one['loc']).upper()}: {one['msg']}"
            for one in error.errors(include_input=False)
        )
        raise CommandError("bad_settings", wrong) from error
    asyncio.run(server.serve(settings))


def openapi() -> None:
    """Print the API's OpenAPI document."""
    typer.echo(document(), nl=False)
