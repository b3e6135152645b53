"""The check of the registry caches: whether their container runs, and which caches serve."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from dayfly.controllers.registry_caches import CONTENT_DIR
from dayfly.doctor.checks import GIB, Check
from dayfly.domain.cluster.naming import CACHES_OWNER, caches_container
from dayfly.domain.registry_cache import RegistryCache
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import DayflyError
from dayfly.settings import Settings

_NAME: Final = "registry caches"
_LIMIT_SECONDS: Final = 10.0
# Prints KiB, then the sockets that do not exist: a cache removes its socket when its program ends.
_LOOK: Final = 'du -sk "$1" | cut -f1; shift; for socket; do [ -S "$socket" ] || echo "$socket"; done'


async def check_registry_caches(settings: Settings, engine: ContainerEngine) -> Check:
    """Raises nothing. Never a failure: without a cache, nodes pull from the registry itself."""
    container = caches_container(settings.instance)
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            found = await engine.list_containers(CACHES_OWNER)
            if not any(one.name == container and one.state == "running" for one in found):
                advice = "start the service, which makes the container; if it runs, read its log"
                return Check(_NAME, "warn", f"container {container} does not run", advice)
            sockets = (cache.socket for cache in settings.caches)
            argv = ("/bin/sh", "-c", _LOOK, "sh", CONTENT_DIR, *sockets)
            ended = await engine.exec(container, argv, timeout=_LIMIT_SECONDS)
    except (DayflyError, TimeoutError) as error:
        found_out = error.for_operator if isinstance(error, DayflyError) else "the engine did not answer"
        return Check(_NAME, "warn", found_out, "read the engine's log")
    size, *missing = ended.stdout.decode(errors="replace").split() or ["0"]
    return _check(settings, container, int(size) * 1024 if size.isdigit() else 0, missing)


def _check(settings: Settings, container: str, size: int, missing: Collection[str]) -> Check:
    silent = [cache for cache in settings.caches if cache.socket in missing]
    if silent:
        found = f"not serving: {', '.join(map(_named, silent))}"
        advice = f"check that the engine's host reaches them; the reason is in the log of container {container}"
        return Check(_NAME, "warn", found, advice)
    names = ", ".join(cache.name for cache in settings.caches)
    return Check(_NAME, "ok", f"{names}; {size / GIB:.1f} of {settings.registry_cache_gib} GiB")


def _named(cache: RegistryCache) -> str:
    return f"{cache.name} ({cache.upstream})"
