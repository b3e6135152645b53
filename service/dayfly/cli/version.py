"""`dayfly version`: the client's version, and the server's where a server answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from dayfly import __version__
from dayfly.client import Client, Unreachable


def version(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the versions of this command and of the server."""
    try:
        with Client() as client:
            server = client.version().version
    except Unreachable as error:
        server = None
        missing = f"none ({error})"
    if as_json:
        typer.echo(json.dumps({"client": __version__, "server": server}))
    else:
        typer.echo(f"client  {__version__}\nserver  {server or missing}")
