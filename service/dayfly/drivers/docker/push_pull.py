"""Pushes and pulls images with the login that `docker login` stored, on Docker and on Podman.

aiodocker's own calls send a header that Podman cannot parse, and cannot ask Podman for a registry without TLS.
Not here: logins (registry_credentials.py).
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from aiodocker.exceptions import DockerStreamError
from aiohttp import ClientTimeout

from dayfly.addresses import is_loopback
from dayfly.domain.cluster.naming import split_tag
from dayfly.drivers.docker.client import DockerClient
from dayfly.drivers.docker.errors import engine_errors
from dayfly.drivers.docker.objects import image_in_path
from dayfly.drivers.docker.registry_credentials import credentials_for, registry_of
from dayfly.drivers.interfaces import TransferProgress
from dayfly.errors import DayflyError, EngineRefused, ImageMissing, RegistryRefused

_SILENCE_SECONDS: Final = 300.0
"""A transfer without output for so long has failed."""
_PULL_OF_PODMAN: Final = "v5.0.0/libpod/images/pull"
"""Podman's own call: the Docker-compatible call ignores `tlsVerify`."""
_NO_TLS: Final = "server gave HTTP response to HTTPS client"
_NO_LOGIN: Final = (
    "no basic auth credentials",
    "authentication required",
    "unauthorized",
    "requested access to the resource is denied",
    "authorization failed",
)


async def transfer(
    client: DockerClient,
    verb: Literal["pushing", "pulling"],
    reference: str,
    logins: Path | None,
    insecure: Collection[str] = (),
) -> AsyncIterator[TransferProgress]:
    """Push or pull. `insecure`: registries (`host:port`) whose certificates Podman does not verify, and that may have
    no TLS; of Docker's, its own configuration decides.

    Raises RegistryRefused, ImageMissing, EngineRefused, EngineUnavailable.
    """
    image_in_path(reference)  # refused before the engine is asked
    doing, registry = f"{verb} {reference}", registry_of(reference)
    with engine_errors(doing):
        podman = await client.is_podman()
    path, params = _call(verb, reference, podman=podman, insecure=registry in insecure or is_on_loopback(registry))
    credentials = None if logins is None else await credentials_for(registry, logins)
    call = client.get()._query(  # noqa: SLF001
        path,
        "POST",
        params=params,
        headers=_header(credentials, podman=podman),
        timeout=ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
        versioned_api=path != _PULL_OF_PODMAN,
    )
    try:
        with engine_errors(doing):
            async with call as response:
                async for line in response.content:
                    if line.strip():
                        yield _progress(json.loads(line))
    except (EngineRefused, ImageMissing) as error:
        raise _explained(error, verb, reference, podman=podman) from error


def _call(verb: str, reference: str, *, podman: bool, insecure: bool) -> tuple[str, Mapping[str, str]]:
    """The path and the parameters of the API call."""
    repository, tag = split_tag(reference)
    # Docker skips TLS on loopback by itself.
    without_tls = {"tlsVerify": "false"} if podman and insecure else {}
    if verb == "pushing":
        return f"images/{image_in_path(repository)}/push", {"tag": tag} | without_tls
    if podman:
        named = f"{repository}{'@' if '@' in reference else ':'}{tag}"
        return _PULL_OF_PODMAN, {"reference": named} | without_tls
    return "images/create", {"fromImage": repository, "tag": tag}


def _progress(line: Mapping[str, Any]) -> TransferProgress:
    """Raises DockerStreamError for a line that reports a failure."""
    if error := line.get("error"):
        raise DockerStreamError(str(error))
    detail = line.get("progressDetail") or {}
    # Podman's own pull reports its progress in `stream`.
    return TransferProgress(
        layer=str(line.get("id", "")),
        status=str(line.get("status") or line.get("stream") or "").strip(),
        current_bytes=int(detail.get("current") or 0),
        total_bytes=int(detail.get("total") or 0),
    )


def _header(credentials: Mapping[str, str] | None, *, podman: bool) -> dict[str, str]:
    if credentials is None and podman:
        # Without the header Podman uses the login of `podman login`; an empty header would prevent that.
        return {}
    # Docker 20.10 refuses a push without the header.
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(credentials or {}).encode()).decode()}


def is_on_loopback(registry: str) -> bool:
    """Whether `registry` (`host:port`, `[::1]:5000`) has a loopback address or is `localhost`."""
    host, _, port = registry.rpartition(":")
    return is_loopback(host if port.isdigit() else registry)


def _explained(error: EngineRefused | ImageMissing, verb: str, reference: str, *, podman: bool) -> DayflyError:
    """`error` with advice, where the registry refused."""
    doing, registry = f"{verb} {reference}", registry_of(reference)
    if _NO_TLS in error.operator_detail:
        where = (
            f'`[[registry]]`, `location = "{registry}"`, `insecure = true` in /etc/containers/registries.conf, '
            f"or here by DAYFLY_INSECURE_REGISTRIES={registry}"
            if podman
            else f'`"insecure-registries": ["{registry}"]` in /etc/docker/daemon.json, and restart the engine'
        )
        message = f"{doing}: the registry {registry} has no TLS: allow it on the engine's host by {where}"
        return RegistryRefused(message, operator_detail=error.operator_detail)
    missing = isinstance(error, ImageMissing)
    # containerd's message for a missing image contains the other phrases, too.
    no_login = _NO_LOGIN[:1] if missing else _NO_LOGIN
    if any(words in error.operator_detail.lower() for words in no_login):
        message = (
            f"{doing}: the registry {registry} requires a login, or rejects the stored login: "
            f"run `docker login {registry}` as the user who runs this command"
        )
        return RegistryRefused(message, operator_detail=error.operator_detail)
    if missing and verb == "pulling":
        return ImageMissing(
            f"{doing}: the registry {registry} has no such image", operator_detail=error.operator_detail
        )
    return error
