"""The address of the engine, found as the docker command finds it, and its TLS certificates.

In this order: DAYFLY_DOCKER_HOST, DOCKER_HOST, the context DOCKER_CONTEXT, the current context of docker's config.json,
the default socket. An empty variable is an unset variable. Source: the docker command's documentation of environment
variables and contexts (`docker context`).
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dayfly.addresses import is_engine_url
from dayfly.errors import EngineUnavailable

DEFAULT: Final = "unix:///var/run/docker.sock"
NO_ADDRESS: Final = "the server's settings name no usable engine"
_SCHEMES: Final = ("unix://", "tcp://", "http://", "https://", "ssh://")


@dataclass(frozen=True)
class EngineAddress:
    """`source` is what names the URL: a variable or a context; None: nothing, it is docker's default.

    `certificates`: the folder of ca.pem, cert.pem and key.pem, for TLS. `verified`: the engine's own is checked.
    """

    url: str
    source: str | None = None
    certificates: Path | None = None
    verified: bool = True

    def tls(self) -> ssl.SSLContext | None:
        """None without TLS. Raises EngineUnavailable where a certificate is missing or unusable."""
        if self.certificates is None:
            return None
        context = ssl.create_default_context()
        authority, certificate, key = (self.certificates / name for name in ("ca.pem", "cert.pem", "key.pem"))
        if not self.verified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            if self.verified or authority.exists():
                context.load_verify_locations(authority)
            if self.verified or certificate.exists():
                context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            detail = (
                f"the engine at {self.url} needs TLS, and {self.certificates} lacks a usable ca.pem, cert.pem or "
                f"key.pem: {error.strerror or error}"
            )
            raise _unusable(detail) from error
        return context


def engine_address(docker_host: str | None, environ: Mapping[str, str] = os.environ) -> EngineAddress:
    """`docker_host` is DAYFLY_DOCKER_HOST's value. Raises EngineUnavailable where what is set names no engine."""
    folder = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    host = environ.get("DOCKER_HOST")
    if docker_host:
        found = EngineAddress(docker_host, "DAYFLY_DOCKER_HOST")
    elif host:
        found = EngineAddress(host, "DOCKER_HOST")
    elif context := _context_name(environ, folder):
        return _checked(_of_context(folder, *context))
    else:
        found = EngineAddress(DEFAULT)
    if environ.get("DOCKER_TLS_VERIFY"):
        certificates = Path(environ.get("DOCKER_CERT_PATH") or folder)
        found = EngineAddress(found.url, found.source, certificates)
    return _checked(found)


def _unusable(detail: str) -> EngineUnavailable:
    """`detail` names addresses and paths of the server: for the operator, not for callers of the API."""
    return EngineUnavailable(NO_ADDRESS, operator_detail=detail)


def _checked(found: EngineAddress) -> EngineAddress:
    if not found.url.startswith(_SCHEMES):
        raise _unusable(f"{found.source} is {found.url!r}: it must begin with one of {', '.join(_SCHEMES)}")
    if not is_engine_url(found.url):
        raise _unusable(f"{found.source} is {found.url!r}: write unix:///var/run/docker.sock or tcp://host:2376")
    return found


def _context_name(environ: Mapping[str, str], folder: Path) -> tuple[str, str] | None:
    """The name of the context, and what names it; None for docker's own default."""
    named = environ.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"
    if not named[0]:
        named = _json(folder / "config.json").get("currentContext"), str(folder / "config.json")
    name, source = named
    return (name, source) if isinstance(name, str) and name not in {"", "default"} else None


def _of_context(folder: Path, name: str, source: str) -> EngineAddress:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest / "meta.json"
    if not meta.exists():
        raise _unusable(f"there is no docker context {name}, which {source} names")
    endpoints = _json(meta).get("Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    url = endpoint.get("Host") if isinstance(endpoint, dict) else None
    if not isinstance(endpoint, dict) or not isinstance(url, str):
        raise _unusable(f"docker context {name} names no engine")
    certificates = folder / "contexts" / "tls" / digest / "docker"
    skips = endpoint.get("SkipTLSVerify") is True
    tls = certificates if certificates.is_dir() or skips else None
    return EngineAddress(url, f"docker context {name}", tls, verified=not skips)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unusable(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}
