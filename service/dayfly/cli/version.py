"""`dayfly version`: the client's version, and the server's where a server answers."""

from __future__ import annotations

from dayfly import __version__
from dayfly.cli.emit import emit
from dayfly.cli.options import Json, Output
from dayfly.client import ApiError, Client, Unreachable


def version(output: Output = None, as_json: Json = False) -> None:
    """Show the versions of this command and of the server."""
    server = None
    try:
        with Client() as client:
            shown = server = client.version().version
    except Unreachable as error:
        shown = f"none ({error})"
    except ApiError as error:
        shown = f"not known ({error.detail})"
    text = f"client  {__version__}\nserver  {shown}"
    emit({"client": __version__, "server": server}, text, output, as_json)
