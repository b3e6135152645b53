"""The disk of a bake on a cloud image: an overlay of the node's size over the untouched image.

Not here: what is written on it.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Final

from dayfly.errors import BakeFailed, InvalidRequest
from dayfly.images.cloud.disk_image import image_format, virtual_size
from dayfly.images.process import run

BACKING: Final = "base.qcow2"
"""The image in the folder of its overlay. Of a raw image, too: the overlay names the format."""
DISK: Final = "disk.qcow2"
_GIB: Final = 1 << 30


async def prepare_disk(image: Path, target: Path, *, disk_gib: int) -> Path:
    """`target`/disk.qcow2, a new overlay of `disk_gib` over `target`/base.qcow2, which is `image`.

    The overlay names its image by the file name alone, so both can move together. The guest's first boot grows its
    file system (seed.py). Raises NotADiskImage, InvalidRequest for a disk smaller than the image, BakeFailed, DiskFull.
    """
    format_ = await image_format(image)
    size = await virtual_size(image, format_)
    if size > disk_gib * _GIB:
        raise InvalidRequest(f"disk_gib is {disk_gib}, but the disk of the cloud image has {_gib_up(size)} GiB")
    _link(image, target / BACKING)
    await run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", format_, "-b", BACKING, DISK, f"{disk_gib}G"], folder=target
    )
    return target / DISK


async def pack_disk(target: Path) -> None:
    """Rewrite `target`/disk.qcow2 without what the guest trimmed, still as an overlay. Raises BakeFailed, DiskFull."""
    packed = target / f"{DISK}.new"
    image = target / BACKING
    await run(
        [
            *("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-o", "compat=1.1,compression_type=zstd", "-c"),
            *("-B", BACKING, "-F", await image_format(image), DISK, packed.name),
        ],
        folder=target,
    )
    packed.replace(target / DISK)


def _link(image: Path, target: Path) -> None:
    """A hard link, or on another file system a copy."""
    try:
        os.link(image, target)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK}:
            raise BakeFailed(f"{target} cannot be linked to {image}: {error.strerror}") from error
        shutil.copyfile(image, target)


def _gib_up(size: int) -> int:
    return -(-size // _GIB)
