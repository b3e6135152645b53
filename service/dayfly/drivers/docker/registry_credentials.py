"""Reads what `docker login` stored for a registry: user and password, or a token.

The engine stores no login: each push and pull sends it. No secret is in a message or a log.
Not here: how logins are sent (push_pull.py).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dayfly.errors import RegistryRefused

_HUB: Final = "https://index.docker.io/v1/"
"""Docker Hub's name in docker's configuration."""
_HELPER_SECONDS: Final = 15.0
_NOT_FOUND: Final = "credentials not found"
"""A helper's output, with exit code 1, for a registry without a stored login."""
_TOKEN_USER: Final = "<token>"  # noqa: S105 - the user name by which a helper marks a token


def registry_of(reference: str) -> str:
    """`host:5000` of `host:5000/a/b:tag`; `docker.io` of a reference without a host."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


async def credentials_for(registry: str, config: Path) -> Mapping[str, str] | None:
    """An AuthConfig of Docker's API for `registry` (`host:port`); None where no login is stored.

    `config`: docker's configuration file. Raises RegistryRefused when the login cannot be read.
    """
    try:
        stored = json.loads(await asyncio.to_thread(config.read_text))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # Not the error itself: a decoder's message may quote the file.
        raise RegistryRefused(
            f"{config}, where docker stores its logins, cannot be read: {type(error).__name__}"
        ) from None
    names = _names(registry)
    helpers: Mapping[str, str] = stored.get("credHelpers") or {}
    helper = next((helpers[name] for name in names if name in helpers), stored.get("credsStore"))
    if helper:
        return await _ask_helper(helper, _HUB if registry == "docker.io" else registry)
    auths: Mapping[str, Mapping[str, Any]] = stored.get("auths") or {}
    entry = next((auths[name] for name in names if name in auths), None)
    return _decoded(entry, registry, config) if entry else None


def _names(registry: str) -> tuple[str, ...]:
    """The names under which docker and other programs store a registry's login, the usual name first."""
    if registry == "docker.io":
        return _HUB, registry, "index.docker.io", "registry-1.docker.io"
    return registry, *(
        f"{scheme}://{registry}{end}" for scheme in ("https", "http") for end in ("", "/", "/v1/", "/v2/")
    )


def _decoded(entry: Mapping[str, Any], registry: str, path: Path) -> Mapping[str, str] | None:
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"]), "serveraddress": registry}
    if not entry.get("auth"):
        return None
    try:
        username, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if not colon:
        raise RegistryRefused(f"the login for {registry} in {path} cannot be read: run docker login {registry} again")
    return {"username": username, "password": password.rstrip("\0"), "serveraddress": registry}


async def _ask_helper(name: str, registry: str) -> Mapping[str, str] | None:
    program = f"docker-credential-{name}"
    try:
        helper = await asyncio.create_subprocess_exec(
            *(program, "get"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise RegistryRefused(
            f"docker stores the login for {registry} with {program}, which cannot be run: {error.strerror}"
        ) from None
    try:
        async with asyncio.timeout(_HELPER_SECONDS):
            answer, _ = await helper.communicate(registry.encode())
    except TimeoutError:
        raise RegistryRefused(f"{program} did not answer within {_HELPER_SECONDS:g} s") from None
    finally:
        if helper.returncode is None:
            helper.kill()
            await helper.wait()
    if helper.returncode != 0:
        # A helper prints errors on standard output.
        if _NOT_FOUND in answer.decode(errors="replace"):
            return None
        raise RegistryRefused(f"{program} has no login for {registry}: it ended with exit code {helper.returncode}")
    try:
        found = json.loads(answer)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise RegistryRefused(f"the answer of {program} for {registry} cannot be read") from None
    if username == _TOKEN_USER:
        return {"identitytoken": secret, "serveraddress": registry}
    return {"username": username, "password": secret, "serveraddress": registry}
