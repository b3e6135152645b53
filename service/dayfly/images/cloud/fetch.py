"""Fetches the image of a cloud base into the cache: named by its checksum, verified, continued when interrupted.

    <cache>/cloud-images/sha256-<hex>.img    complete and verified
    <cache>/cloud-images/sha256-<hex>.part   the beginning of a download, with the note .part.json

Parts are removed when a week old, images when no bake has used them for 30 days. Not here: HTTP (download.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from dayfly.clock import Clock
from dayfly.errors import BaseContentDiffers, BaseFetchFailed
from dayfly.images.cache import Cache
from dayfly.images.cloud.checksums import file_checksum, find_checksum
from dayfly.images.cloud.download import download, require_limit
from dayfly.images.cloud.http import client, fetch_bytes, file_path, require_file, shown
from dayfly.images.cloud.part import ENDINGS, Part
from dayfly.images.cloud.signatures import verify
from dayfly.images.cloud_base import CloudBase, SignedChecksums

OnLine = Callable[[str], None]

FOLDER: Final = "cloud-images"
_DAY_SECONDS: Final = 86_400.0
_KEEP_PART_SECONDS: Final = 7 * _DAY_SECONDS
_KEEP_IMAGE_SECONDS: Final = 30 * _DAY_SECONDS
_CHUNK_BYTES: Final = 4 << 20


async def fetch_image(
    base: CloudBase,
    *,
    root: Path,
    cache_dir: Path,
    clock: Clock,
    on_line: OnLine,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Path:
    """The image of `base`: a read-only file in the cache, whose content has the checksum that the base vouches for.

    `root` is provisioning/, with the base's key. `on_line` receives progress. An interrupted download leaves a part,
    which the next call continues. Raises BaseFetchFailed, BaseTruncated, BaseContentDiffers, BaseSignatureInvalid,
    BaseSignatureExpired, BaseChecksumMissing, DiskFull.
    """
    folder = cache_dir / FOLDER
    async with client(transport) as http, Cache(folder, clock) as cache:
        checksum = base.checksum or await _signed_checksum(base, http, root)
        name = checksum.replace(":", "-")
        image = folder / f"{name}.img"
        waiting = f"another bake fetches {base.file_name}"
        async with cache.alone(name, lambda: on_line(waiting)):
            remove_old(folder, clock, keep=name)
            if not image.exists():
                part = Part(folder / f"{name}.part")
                await _fetch(base, checksum, part, http, clock, on_line)
                part.path.chmod(0o444)
                part.path.rename(image)
                part.remove()
            _touch(image, clock)
    return image


def remove_old(folder: Path, clock: Clock, *, keep: str = "") -> None:
    """Remove parts and images that are too old, but none whose name begins with `keep`."""
    now = clock.now().timestamp()
    for path in folder.iterdir():
        limit = _KEEP_PART_SECONDS if path.name.endswith(ENDINGS) else _KEEP_IMAGE_SECONDS
        is_ours = path.name.endswith((*ENDINGS, ".img")) and not (keep and path.name.startswith(f"{keep}."))
        # Another bake may rename its part, or remove the same file.
        with suppress(FileNotFoundError):
            if is_ours and now - path.stat().st_mtime > limit:
                path.unlink()


async def _signed_checksum(base: CloudBase, http: httpx.AsyncClient, root: Path) -> str:
    """The image's checksum in a file that the base's key signed."""
    signed = base.signed_checksums
    assert isinstance(signed, SignedChecksums)  # noqa: S101 - CloudBase has one of both
    document = await fetch_bytes(http, signed.url)
    signature = await fetch_bytes(http, signed.signature) if signed.signature is not None else None
    source = shown(signed.url)
    content = await verify(document, signature, key=root / signed.key, fingerprint=signed.fingerprint, source=source)
    return find_checksum(content.decode(errors="replace"), base.file_name, source)


async def _fetch(
    base: CloudBase, checksum: str, part: Part, http: httpx.AsyncClient, clock: Clock, on_line: OnLine
) -> None:
    limit_bytes = base.max_gib << 30
    if urlsplit(base.url).scheme == "file":
        await _copy(base, part, limit_bytes)
        await _check(base, checksum, part)
        return
    if continued := part.size > 0:
        on_line(f"{base.file_name}: continues after {part.size >> 20} MiB")
    on_line(f"downloading {shown(base.url)}")
    await download(http, base.url, part, limit_bytes=limit_bytes, clock=clock, on_line=on_line)
    try:
        await _check(base, checksum, part)
    except BaseContentDiffers:
        if not continued:
            raise
        # The former part was of another file: upstream replaced the image between the two calls.
        on_line(f"{base.file_name} has another checksum than {checksum}: downloading all of it again")
        await download(http, base.url, part, limit_bytes=limit_bytes, clock=clock, on_line=on_line)
        await _check(base, checksum, part)


async def _check(base: CloudBase, checksum: str, part: Part) -> None:
    """Raise BaseContentDiffers and remove the part where it has another checksum."""
    found = await asyncio.to_thread(file_checksum, part.path, checksum.partition(":")[0])
    if found != checksum:
        size = part.size
        part.remove()
        raise BaseContentDiffers(f"{shown(base.url)} ({size} bytes) has the checksum {found}; expected: {checksum}")


async def _copy(base: CloudBase, part: Part, limit_bytes: int) -> None:
    """Fill the part with a local file; after a failure there is no part."""
    source = file_path(base.url)
    part.remove()
    require_file(source)
    try:
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            require_limit(base.url, size, limit_bytes)
            part.require_space(size)
            part.append(b"")
            while chunk := file.read(_CHUNK_BYTES):
                part.append(chunk)
                await asyncio.sleep(0)
    except OSError as error:
        part.remove()
        raise BaseFetchFailed(f"{source} cannot be copied: {error.strerror}") from error
    except BaseException:
        part.remove()
        raise


def _touch(image: Path, clock: Clock) -> None:
    """Note the use of an image, from which its age counts."""
    now = clock.now().timestamp()
    os.utime(image, (now, now))
