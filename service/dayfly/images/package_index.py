"""What the repositories of Kubernetes' packages have, and what is baked: for `dayfly image versions`.

A repository's index is read over the settings' address, as a bake reads it; its signature is not verified here, because
nothing is installed from it. Not here: the versions that recipes know (kubernetes_versions.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from dayfly.concurrency import unwrap_exception_group
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.errors import UpstreamUnavailable
from dayfly.images.kubernetes_versions import MinorVersion, Versions, version_key
from dayfly.images.node_images import NodeImage
from dayfly.images.play_inputs import find_download, open_client

_PACKAGE: Final = "kubeadm"
"""Each release has it."""
_STANZA: Final = re.compile(r"^(Package|Version):[ \t]*(\S+)", re.MULTILINE)
_RELEASE: Final = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+)-[0-9A-Za-z.]+")


@dataclass(frozen=True)
class MinorStatus:
    """A minor version: the releases that the repository has, and those that are on this engine, the newest first.

    `recipe` and `pinned`: None for a version that recipes do not know, because it has no line yet.
    """

    minor: str
    recipe: str | None
    pinned: str | None
    releases: tuple[str, ...]
    baked: tuple[str, ...]

    @property
    def newest(self) -> str | None:
        return self.releases[0] if self.releases else None


async def find_versions(
    family: str,
    versions: Versions,
    images: Sequence[NodeImage],
    addresses: BakeAddresses,
    transport: httpx.AsyncBaseTransport | None = None,
) -> tuple[MinorStatus, ...]:
    """The minor versions of a family of recipes, and the next one if the repository has it, in their order.

    Raises UpstreamUnavailable when an index cannot be read, or when there is none at all, and InvalidRequest.
    """
    lines = {minor: line for minor, line in versions.versions.items() if line.upstream or addresses.has_own_kubernetes}
    minors = sorted({*lines, _next(lines)}, key=version_key)
    async with open_client(addresses, transport) as http, unwrap_exception_group(), asyncio.TaskGroup() as group:
        tasks = {minor: group.create_task(_releases(http, addresses.kubernetes_packages, minor)) for minor in minors}
    if all(task.result() is None for task in tasks.values()):
        raise UpstreamUnavailable(
            f"{addresses.kubernetes_packages} has no index of packages, such as v{minors[0]}/deb/Packages: "
            "DAYFLY_KUBERNETES_PACKAGES sets the address"
        )
    found = (_status(family, minor, lines.get(minor), task.result(), images) for minor, task in tasks.items())
    return tuple(status for status in found if status.recipe or status.releases)


def parse_releases(index: str) -> tuple[str, ...]:
    """The releases in an apt repository's index, the newest first."""
    found: set[str] = set()
    for stanza in re.split(r"\n\s*\n", index):
        fields = dict(_STANZA.findall(stanza))
        if fields.get("Package") == _PACKAGE and (release := _RELEASE.fullmatch(fields.get("Version", ""))):
            found.add(release[1])
    return tuple(sorted(found, key=version_key, reverse=True))


async def _releases(http: httpx.AsyncClient, address: str, minor: str) -> tuple[str, ...] | None:
    """None: the repository has no such minor version."""
    index = await find_download(http, f"{address}/v{minor}/deb/Packages", f"the packages of Kubernetes {minor}")
    return None if index is None else parse_releases(index.decode(errors="replace"))


def _status(
    family: str, minor: str, line: MinorVersion | None, releases: tuple[str, ...] | None, images: Iterable[NodeImage]
) -> MinorStatus:
    baked = {image.manifest.kubernetes.version.removeprefix("v") for image in images if image.manifest.kubernetes}
    own = sorted((one for one in baked if one.startswith(f"{minor}.")), key=_sortable, reverse=True)
    recipe = None if line is None else f"{family}-{minor}"
    pinned = None if line is None else f"{minor}.{line.patch}"
    return MinorStatus(minor, recipe, pinned, releases or (), tuple(own))


def _sortable(version: str) -> tuple[int, ...]:
    """As version_key, for a version that another host's image has: what is no number sorts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def _next(minors: Iterable[str]) -> str:
    major, minor = max(map(version_key, minors))
    return f"{major}.{minor + 1}"
