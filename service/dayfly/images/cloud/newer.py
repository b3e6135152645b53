"""Looks for newer images of cloud bases upstream, as the bases' data say, and writes the changed data file.

The new checksum is that of upstream's checksum file, over the connection of this moment: a person reads the change
before it becomes the base. Not here: the output (cli/image_bases.py).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final

import httpx

from dayfly.errors import BaseFetchFailed
from dayfly.images.cloud.checksums import find_checksum
from dayfly.images.cloud.http import fetch_bytes, shown
from dayfly.images.cloud.versions import version_key
from dayfly.images.cloud_base import CloudBase, Newer

_LONGEST_NAME: Final = 300


@dataclass(frozen=True)
class Candidate:
    """An image of upstream."""

    version: str
    url: str
    checksum: str


async def find_newer(base: CloudBase, http: httpx.AsyncClient) -> Candidate | None:
    """The newest image of upstream; None when the base has it. Raises BaseFetchFailed, BaseChecksumMissing."""
    if base.newer is None:
        return None
    index = (await fetch_bytes(http, base.newer.index)).decode(errors="replace")
    found = {match[1]: match[0] for match in re.finditer(base.newer.pattern, index) if len(match[0]) < _LONGEST_NAME}
    if not found:
        raise BaseFetchFailed(f"{shown(base.newer.index)} names no image: nothing there matches {base.newer.pattern}")
    version = max(found, key=version_key)
    if version_key(version) <= version_key(base.newer.version_of(base.url)):
        return None
    url = _address(base.newer.url, base.newer, found[version], version)
    checksums = _address(base.newer.checksums, base.newer, found[version], version, url)
    text = (await fetch_bytes(http, checksums)).decode(errors="replace")
    name = url.rpartition("/")[2]
    return Candidate(version, url, find_checksum(text, name, shown(checksums)))


def changed_file(text: str, base: CloudBase, candidate: Candidate) -> str:
    """The base's data file `text` with the address and the checksum of `candidate`; everything else stays."""
    changed = text.replace(base.url, candidate.url)
    return changed.replace(base.checksum, candidate.checksum) if base.checksum is not None else changed


def unified_diff(name: str, before: str, after: str) -> str:
    """The change of the file `name`, for `patch -p1`."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm="")
    return "\n".join(lines)


def _address(template: str, newer: Newer, name: str, version: str, url: str = "") -> str:
    return template.format(index=newer.index, name=name, version=version, url=url)
