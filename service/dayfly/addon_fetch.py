"""Fetches the manifests of a pulled add-on: from their URLs, or from files. Only what has the pinned digest is stored.

Not here: where they are kept (addon_manifests.py). Servers never fetch: an operator runs `dayfly addon fetch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from dayfly.addon_manifests import AddonManifests, assemble, sha256
from dayfly.domain.addon import AddonDefinition
from dayfly.domain.addon_source import PinnedManifest, PulledSource
from dayfly.errors import AddonContentDiffers, AddonFetchFailed, InvalidRequest

_MAX_BYTES: Final = 16 << 20
"""Of one manifest. The largest of provisioning/addons has 1 MiB."""
_TIMEOUT_SECONDS: Final = 60.0
"""Without a byte."""


def fetch_addon(
    addon: AddonDefinition,
    manifests: AddonManifests,
    files: Sequence[Path] = (),
    transport: httpx.BaseTransport | None = None,
) -> tuple[str, ...]:
    """Store all manifests of `addon` that are not stored: from `files`, or without files from their URLs; their URLs.

    Nothing is stored unless all contents are right, and the add-on can be made of them. Raises InvalidRequest for an
    add-on that has no manifests or cannot be made of them, AddonContentDiffers, AddonFetchFailed.
    """
    if addon.pulled is None:
        raise InvalidRequest(f"the add-on {addon.name} is baked into node images: there is nothing to fetch")
    source = addon.pulled
    found = _from_files(source, files) if files else _from_urls(source, transport)
    assemble(addon, found)
    for content in found.values():
        manifests.store(content)
    return tuple(one.url for one in source.manifests)


def _from_files(source: PulledSource, files: Sequence[Path]) -> dict[str, bytes]:
    wanted = {one.sha256: one for one in source.manifests}
    found: dict[str, bytes] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise AddonFetchFailed(f"{path} cannot be read: {error.strerror}") from error
        if (digest := sha256(content)) not in wanted:
            expected = ", ".join(f"{one.sha256} ({one.url})" for one in source.manifests)
            raise AddonContentDiffers(f"{path} has the SHA-256 {digest}; expected: {expected}")
        found[digest] = content
    if missing := [one.url for digest, one in wanted.items() if digest not in found]:
        raise InvalidRequest(f"no file was given for {', '.join(missing)}")
    return found


def _from_urls(source: PulledSource, transport: httpx.BaseTransport | None) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with httpx.Client(transport=transport, timeout=_TIMEOUT_SECONDS, follow_redirects=True) as http:
        for manifest in source.manifests:
            content = _download(http, manifest)
            if (digest := sha256(content)) != manifest.sha256:
                raise AddonContentDiffers(f"{manifest.url} has the SHA-256 {digest}; expected: {manifest.sha256}")
            found[digest] = content
    return found


def _download(http: httpx.Client, manifest: PinnedManifest) -> bytes:
    content = bytearray()
    try:
        with http.stream("GET", manifest.url) as answer:
            if not answer.is_success:
                raise AddonFetchFailed(f"{manifest.url} was answered with status {answer.status_code}")
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise AddonFetchFailed(f"{manifest.url} has more than {_MAX_BYTES >> 20} MiB")
    except httpx.HTTPError as error:
        raise AddonFetchFailed(f"{manifest.url} cannot be downloaded: {error or type(error).__name__}") from error
    return bytes(content)
