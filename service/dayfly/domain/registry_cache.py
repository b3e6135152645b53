"""Pull-through caches of public registries, which all clusters of an installation share. All is pure.

A node pulls from a port of its cluster's registry container, which forwards to the cache's Unix socket in a volume. So
a cache has no port on the host, and an address that does not change when its container is made anew.
Not here: the caches' container (controllers/registry_caches.py), the nodes' rules (steps/guest/registry_names.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SOCKETS_DIR: Final = "/run/dayfly-caches"
MOST_CACHES: Final = 16

_FIRST_PORT: Final = 5001
_HUB: Final = "docker.io"
_HUB_UPSTREAM: Final = "https://registry-1.docker.io"
_OTHER_NAMES_OF_HUB: Final = frozenset({"index.docker.io", "registry-1.docker.io"})
_LABEL: Final = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
# With a dot, as image names require of a registry; not an address, so that no rule concerns a cluster's own registry.
_NAME: Final = re.compile(rf"(?=.{{1,63}}$)({_LABEL}\.)+[a-z]([a-z0-9-]*[a-z0-9])?(:([0-9]{{1,5}}))?")
_URL: Final = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::([0-9]{1,5}))?/?")


@dataclass(frozen=True)
class RegistryCache:
    """The cache of registry `name`, as images name it, filled from the URL `upstream`.

    `port` is where a cluster's nodes reach it, on the host name `registry`.
    """

    name: str
    upstream: str
    port: int

    @property
    def key(self) -> str:
        """The name in paths."""
        return self.name.replace(":", "_")

    @property
    def socket(self) -> str:
        return f"{SOCKETS_DIR}/{self.key}.sock"

    @property
    def prefix(self) -> str:
        """The first part of each request's path. A cache refuses another cache's requests.

        A checkpoint's nodes may know ports of an earlier list of caches: then they get 404 and ask the registry itself,
        and never get an image of another registry.
        """
        return f"/{self.key}/"

    @property
    def has_own_upstream(self) -> bool:
        """Whether the upstream is a mirror, and not the registry itself."""
        return self.upstream != _registry_itself(self.name)

    @property
    def login_name(self) -> str:
        """The name of the upstream's login, as `docker login` takes it."""
        return _HUB if self.upstream == _HUB_UPSTREAM else self.upstream.partition("://")[2]


def read_caches(entries: Iterable[str]) -> tuple[RegistryCache, ...]:
    """The caches of a list `docker.io=https://registry-1.docker.io`, `quay.io`, …, by name.

    Without a URL, the upstream is the registry itself. Raises ValueError with one sentence, which quotes no URL.
    """
    upstreams: dict[str, str] = {}
    for entry in entries:
        name, _, url = entry.partition("=")
        name = name.strip().lower()
        _check_name(name)
        if name in upstreams:
            raise ValueError(f"{name} is listed twice")
        upstreams[name] = _checked_url(name, url.strip() or _registry_itself(name))
    if len(upstreams) > MOST_CACHES:
        raise ValueError(f"lists {len(upstreams)} registries, more than {MOST_CACHES}")
    named = enumerate(sorted(upstreams.items()), start=_FIRST_PORT)
    return tuple(RegistryCache(name, upstream, port) for port, (name, upstream) in named)


def _check_name(name: str) -> None:
    if name in _OTHER_NAMES_OF_HUB:
        raise ValueError(f"write {_HUB} instead of {name}, as in names of images")
    found = _NAME.fullmatch(name)
    if not found or (found[5] and not 0 < int(found[5]) < 65536):
        raise ValueError(
            "write each registry as in names of images, with its URL if that differs: "
            f"{_HUB}={_HUB_UPSTREAM},quay.io (at most 63 letters)"
        )


def _checked_url(name: str, url: str) -> str:
    if "@" in url:
        raise ValueError(f"the URL for {name} holds a login: put it into the file DAYFLY_REGISTRY_CACHE_LOGINS")
    found = _URL.fullmatch(url)
    if not found or (found[3] and not 0 < int(found[3]) < 65536):
        raise ValueError(f"the URL for {name} must be http(s)://host or http(s)://host:port, without a path")
    return url.removesuffix("/")


def _registry_itself(name: str) -> str:
    return _HUB_UPSTREAM if name == _HUB else f"https://{name}"
