"""Keeps the container of the pull-through caches: one for all caches of an installation.

Its program (registry_caches.sh) runs a docker-registry for each cache and bounds their content. Program and
configurations are written into the container, so that any node image serves, which has docker-registry.
Not here: the removal after the option is unset (gc.py); the nodes' way to a cache (domain/registry_cache.py).
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import certifi
import structlog
import yaml

from dayfly.clock import Clock
from dayfly.domain.cluster.naming import (
    CACHES_OWNER,
    LABEL_FINGERPRINT,
    LABEL_IMAGE,
    LABEL_ROLE,
    caches_container,
    caches_content_volume,
    caches_labels,
    caches_sockets_volume,
)
from dayfly.domain.cluster.topology import ContainerSpec, Volume
from dayfly.domain.registry_cache import SOCKETS_DIR, RegistryCache
from dayfly.drivers.interfaces import ContainerEngine, File, ImageStore, ReadLogin
from dayfly.errors import DayflyError, ImageMissing, RegistryRefused
from dayfly.settings import Settings

_log = structlog.get_logger(__name__)

CONTENT_DIR: Final = "/var/lib/dayfly-caches"
CONFIGURATION_DIR: Final = "/etc/dayfly"
PROGRAM: Final = f"{CONFIGURATION_DIR}/registry-caches"
INTERVAL_SECONDS: Final = 10
RESERVE_KIB: Final = 2**20
"""Of the engine's disk: with less left, the caches give up content."""

_CERTIFICATES: Final = f"{CONFIGURATION_DIR}/cache-ca.crt"
_PROGRAM_TEXT: Final = files("dayfly.controllers").joinpath("registry_caches.sh").read_text()


@dataclass(frozen=True)
class RegistryCaches:
    """`read_login`: the login of a registry in a file of `docker login`."""

    settings: Settings
    engine: ContainerEngine
    images: ImageStore
    read_login: ReadLogin
    clock: Clock

    async def run(self) -> None:
        """Until cancelled. A failure is logged when it begins; meanwhile nodes pull from the registries themselves."""
        failed = ""
        while True:
            try:
                await self.look()
            except DayflyError as error:
                if error.code != failed:
                    _log.warning("registry caches do not run", code=error.code, reason=error.for_operator)
                failed = error.code
            else:
                if failed:
                    _log.info("registry caches run again")
                failed = ""
            await self.clock.sleep(self.settings.survey_seconds)

    async def look(self) -> None:
        """Make, start or replace the container. Raises EngineUnavailable, EngineRefused, ImageMissing, DiskFull."""
        made = await self._configuration()
        container = cache_container(self.settings, await self._image(), made)
        outdated = {
            status.name
            for status in await self.engine.list_containers(CACHES_OWNER)
            if status.name == container.name
            and status.labels.get(LABEL_FINGERPRINT) != container.labels[LABEL_FINGERPRINT]
        }
        if outdated:
            # The content is in a volume, and stays.
            await self.engine.remove(CACHES_OWNER, only=outdated)
        await self.engine.ensure(container, made)

    async def _image(self) -> str:
        """The newest node image: an older one could not be removed while the container uses it."""
        found = await self.images.list(label=LABEL_IMAGE)
        if not found:
            raise ImageMissing("no node image exists: bake one with `dayfly image bake`")
        return max(found, key=lambda image: (image.created_at, image.id)).id

    async def _configuration(self) -> tuple[File, ...]:
        caches = self.settings.caches
        return (
            File(PROGRAM, _PROGRAM_TEXT.encode(), 0o755),
            File(_CERTIFICATES, _certificates(), 0o644),
            *[File(_path(cache), configuration(cache, await self._login(cache)).encode()) for cache in caches],
        )

    async def _login(self, cache: RegistryCache) -> Mapping[str, str]:
        if (path := self.settings.registry_cache_logins) is None:
            return {}
        try:
            return await self.read_login(cache.login_name, path) or {}
        except RegistryRefused as error:
            # The other caches work, and this one does for public images.
            _log.warning("a registry cache has no login", registry=cache.name, reason=error.for_operator)
            return {}


def cache_container(settings: Settings, image: str, made: Iterable[File]) -> ContainerSpec:
    """The container of all caches; the files `made` are written into it. It has no port on the host."""
    instance, caches = settings.instance, settings.caches
    labels = caches_labels(instance)
    command = ("/bin/sh", PROGRAM, *(cache.key for cache in caches))
    environment = {
        "CONTENT": CONTENT_DIR,
        "SOCKETS": SOCKETS_DIR,
        "CONFIGURATION": CONFIGURATION_DIR,
        "LIMIT_KIB": str(settings.registry_cache_gib * 2**20),
        "RESERVE_KIB": str(RESERVE_KIB),
        "INTERVAL": str(INTERVAL_SECONDS),
        # The image has no certificates.
        "SSL_CERT_FILE": _CERTIFICATES,
    }
    return ContainerSpec(
        name=caches_container(instance),
        role="cache",
        image=image,
        command=command,
        labels=labels | {LABEL_ROLE: "cache", LABEL_FINGERPRINT: _fingerprint(image, command, environment, made)},
        environment=environment,
        volumes=(
            Volume(caches_content_volume(instance), CONTENT_DIR, labels),
            Volume(caches_sockets_volume(instance), SOCKETS_DIR, labels),
        ),
    )


def configuration(cache: RegistryCache, login: Mapping[str, str]) -> str:
    """docker-registry's configuration of `cache`. `login` has `username` and `password`, or is empty."""
    proxy = {"remoteurl": cache.upstream}
    # docker-registry 2.8 cannot use tokens of `docker login`.
    if "password" in login:
        proxy |= {"username": login["username"], "password": login["password"]}
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": f"{CONTENT_DIR}/{cache.key}"},
                # The registry's own expiry of content needs the permission.
                "delete": {"enabled": True},
            },
            "http": {"net": "unix", "addr": cache.socket, "prefix": cache.prefix},
            "proxy": proxy,
        },
        sort_keys=False,
    )


def _path(cache: RegistryCache) -> str:
    return f"{CONFIGURATION_DIR}/cache-{cache.key}.yml"


def _certificates() -> bytes:
    """The certificates that this machine trusts, so that a site's own authority is among them; else Mozilla's."""
    known = ssl.get_default_verify_paths().cafile
    return Path(known or certifi.where()).read_bytes()


def _fingerprint(image: str, command: Iterable[str], environment: Mapping[str, str], made: Iterable[File]) -> str:
    """Changes with everything that the container was made of. Too short to try passwords against it."""
    digests = [(file.path, hashlib.sha256(file.content).hexdigest()) for file in made]
    parts = json.dumps([image, list(command), dict(environment), digests])
    return hashlib.sha256(parts.encode()).hexdigest()[:8]
