"""Why an engine does not answer, with advice: its socket is missing, forbidden, or no process listens.

Not here: the checks of an engine that answers (examine.py).
"""

from __future__ import annotations

import errno
import grp
import socket
from pathlib import Path
from typing import Final

from dayfly.doctor.checks import Check, Host

_UNIX: Final = "unix://"
REMOTE: Final = ("tcp://", "http://", "https://", "ssh://")
_CONNECT_SECONDS: Final = 2.0
_START: Final = "start it (systemctl start docker); its log shows why it ended (journalctl -u docker)"


def engine_down(host: Host, url: str, source: str | None, error: str) -> Check:
    """The failed check of an engine that did not answer; `error` is that of the query.

    `source` is the environment variable that sets the engine's `url`, None for the default.
    """
    setting = source or "DAYFLY_DOCKER_HOST"
    if url.startswith(REMOTE):
        return _failed(f"{url} ({setting}): {error}", f"start the engine that listens there, or correct {setting}")
    if not url.startswith(f"{_UNIX}/"):
        return _failed(f"{url} ({setting}) is not a URL", f"set {setting} to a URL: unix:///var/run/docker.sock")
    return _socket_down(host, Path(url.removeprefix(_UNIX)), source, error)


def _socket_down(host: Host, path: Path, source: str | None, error: str) -> Check:
    here = host.path(path)
    number = _connect(here)
    if number == errno.ENOENT:
        return _without_socket(host, path, source)
    if number in {errno.EACCES, errno.EPERM}:
        return _failed(f"this user may not open {path}", _permission(here))
    if number == errno.ECONNREFUSED and not here.is_socket():
        return _failed(f"{path} is not a socket", f"correct {source or 'DAYFLY_DOCKER_HOST'}")
    if number == errno.ECONNREFUSED:
        return _failed(f"no process listens at {path}", _START)
    return _failed(error, "read the engine's log (journalctl -u docker), or restart it (systemctl restart docker)")


def _without_socket(host: Host, path: Path, source: str | None) -> Check:
    if source is not None:
        advice = f"start the engine that listens there, or correct {source}"
        return _failed(f"there is no {path}, which {source} names", advice)
    if host.which("dockerd") is not None:
        return _failed(f"there is no {path}: the engine does not run", _START)
    advice = "install one (apt-get install docker.io), or set DAYFLY_DOCKER_HOST to the address of another"
    found = "no container engine is installed"
    if host.which("docker") is not None:
        found += ": the docker command alone is not an engine"
    elif host.which("podman") is not None:
        advice = f"systemctl start podman.socket and set DAYFLY_DOCKER_HOST=unix:///run/podman/podman.sock, or {advice}"
        found = "Podman does not listen at Docker's socket"
    return _failed(found, advice)


def _permission(path: Path) -> str:
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):  # A parent folder is not readable, or the group has no name.
        group = "docker"
    if group == "root":
        return "run this as root, or give the engine's socket a group of its own"
    return f"usermod -aG {group} USER as root, then log in again"


def _connect(path: Path) -> int | None:
    """The errno of a connection to `path`; None when the connection succeeds."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno
    return None


def _failed(found: str, advice: str) -> Check:
    return Check("engine", "fail", found, advice)
