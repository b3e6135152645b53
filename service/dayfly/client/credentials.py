"""What `dayfly login` stored, by server: tokens and pinned authorities, in a file of its owner alone.

The file is below the user's configuration directory.

Not here: which token a client sends (transport.py).
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Final

import httpx

from dayfly.addresses import host_and_port
from dayfly.client.errors import InvalidArgument

_TOKENS: Final = "tokens"
_AUTHORITIES: Final = "authorities"


def credentials_file() -> Path:
    """`$XDG_CONFIG_HOME/dayfly/credentials.json`."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dayfly" / "credentials.json"


def stored_token(url: httpx.URL) -> str | None:
    """The token for the server at `url`. Raises InvalidArgument for a file that others can read, or that is none."""
    return _read(_TOKENS).get(_server(url))


def stored_authority(url: httpx.URL) -> str | None:
    """The authority of the server at `url`, as PEM. Raises as stored_token."""
    return _read(_AUTHORITIES).get(_server(url))


def store_token(url: httpx.URL, token: str, authority: str | None = None) -> Path:
    """Keep the token for the server at `url` in place of another, and its authority as PEM; None: the stored one stays.

    Raises InvalidArgument, OSError.
    """
    tokens, authorities, server = _read(_TOKENS), _read(_AUTHORITIES), _server(url)
    return _write(tokens | {server: token}, authorities if authority is None else authorities | {server: authority})


def forget_server(url: httpx.URL) -> Path:
    """Keep neither a token nor an authority for the server at `url`. Raises as store_token."""
    tokens, authorities, server = _read(_TOKENS), _read(_AUTHORITIES), _server(url)
    tokens.pop(server, None)
    authorities.pop(server, None)
    return _write(tokens, authorities)


def _write(tokens: dict[str, str], authorities: dict[str, str]) -> Path:
    path, content = credentials_file(), {_TOKENS: tokens, _AUTHORITIES: authorities}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp creates files of mode 0600
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _server(url: httpx.URL) -> str:
    """Scheme, host and port, or the path of a unix socket: a token is sent to no other server."""
    if url.scheme == "unix":
        return f"unix://{url.path}"
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return f"{url.scheme}://{host_and_port(url.host, port)}"


def _read(part: str) -> dict[str, str]:
    try:
        path = credentials_file()
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InvalidArgument(f"{path} has tokens, and other users can read it: chmod 600 {path}")
            content = json.load(file)
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: no home directory is known
        return {}
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"{path} cannot be read: {type(error).__name__}") from error
    # A file of before has no authorities.
    found = content.get(part, {} if part == _AUTHORITIES else None) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise InvalidArgument(f"{path} is no file of `dayfly login`: remove it, and log in again")
    return found
