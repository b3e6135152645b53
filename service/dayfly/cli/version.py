"""`dayfly version`: the client's version, and the server's where a server answers."""

from __future__ import annotations

from dayfly import __version__
from dayfly.cli.emit import emit
from dayfly.cli.options import Json, Output
from dayfly.client import Client, Unreachable


def version(output: Output = None, as_json: Json = False) -> None:
    """Show the versions of this command and of the server."""
    try:
        with Client() as client:
            server = client.version().version
    except Unreachable as error:
        server = None
        missing = f"none ({error})"
    text = f"client  {__version__}\nserver  {server or missing}"
    emit({"client": __version__, "server": server}, text, output, as_json)
