"""Where a bake gets packages, images and other files from: the settings that replace upstream's addresses. All is pure.

No address is part of a key: a bake from a mirror gives the image that a bake from upstream gives.
Not here: Debian's mirrors (images/apt_sources.py), and the downloads (images/play_inputs.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

UPSTREAM_KUBERNETES: Final = "https://pkgs.k8s.io/core:/stable:"
"""Below it: v1.36/deb/ and v1.36/rpm/."""
UPSTREAM_CRIO: Final = "https://download.opensuse.org/repositories/isv:/cri-o:/stable:"

_REGISTRY: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?")
_URL: Final = re.compile(r"https?://[^\s\"'<>\\]+")


@dataclass(frozen=True)
class BakeAddresses:
    """Addresses without the slash at the end; a key None is fetched from the repository itself, over HTTPS only."""

    kubernetes_packages: str = UPSTREAM_KUBERNETES
    kubernetes_key: Path | None = None
    crio_packages: str = UPSTREAM_CRIO
    crio_key: Path | None = None
    registries: tuple[tuple[str, str], ...] = ()
    """A registry as images name it → the URL of what is asked instead; others are asked themselves."""
    registry_logins: Path | None = field(default=None, repr=False)
    """A file as `docker login` writes it."""
    downloads: tuple[tuple[str, str], ...] = ()
    """The beginning of a URL → what replaces it."""
    dnf_repositories: tuple[str, ...] = ()
    """Repositories of the distribution in place of its own, where it has dnf."""
    certificate_authorities: Path | None = None
    """A PEM file with authorities of these addresses, beside those that the machine trusts."""

    def download(self, url: str) -> str:
        """The address to download `url` from: with the longest beginning that is replaced."""
        matching = [pair for pair in self.downloads if url.startswith(pair[0])]
        if not matching:
            return url
        before, after = max(matching, key=lambda pair: len(pair[0]))
        return after + url.removeprefix(before)

    @property
    def has_own_kubernetes(self) -> bool:
        """Whether Kubernetes' packages come from another place than upstream."""
        return self.kubernetes_packages != UPSTREAM_KUBERNETES


def read_registries(entries: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The pairs of `registry.k8s.io=https://mirror.example/k8s`, …. Raises ValueError, which quotes no URL."""
    found: dict[str, str] = {}
    for entry in entries:
        name, _, url = entry.partition("=")
        name = name.strip().lower()
        if not _REGISTRY.fullmatch(name):
            raise ValueError("write each registry as in names of images: registry.k8s.io=https://mirror.example")
        if name in found:
            raise ValueError(f"{name} is listed twice")
        found[name] = _checked(name, url, "put it into the file DAYFLY_BAKE_REGISTRY_LOGINS")
    return tuple(sorted(found.items()))


def read_downloads(entries: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The pairs of `https://download.example/=https://mirror.example/`, …. Raises ValueError, which quotes no URL."""
    found: dict[str, str] = {}
    for entry in entries:
        # The equals sign before the second URL: a URL may have others.
        before, separator, rest = re.sub(r"=(https?://)", "\n\\1", entry, count=1).partition("\n")
        if not separator or not _URL.fullmatch(before.strip()):
            raise ValueError("write each as BEGINNING=REPLACEMENT: https://download.example/=https://mirror.example/")
        if before.strip() in found:
            raise ValueError("lists the beginning of an address twice")
        found[before.strip()] = _checked("a beginning", rest, "use a proxy that has it", keep_slash=True)
    return tuple(sorted(found.items()))


def checked_address(url: str) -> str:
    """`url` without the slash at its end. Raises ValueError, which does not quote it."""
    return _checked("packages", url, "let a proxy add it")


def _checked(what: str, url: str, advice: str, *, keep_slash: bool = False) -> str:
    url = url.strip()
    if not _URL.fullmatch(url):
        raise ValueError(f"the address for {what} must be a URL: https://mirror.example/path")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError(f"the address for {what} holds a login: {advice}")
    return url if keep_slash else url.rstrip("/")
