"""Files in the file systems of a raw disk, read without mounts: ext by debugfs, FAT by mtools.

Not here: which files.
"""

from __future__ import annotations

from pathlib import Path

from dayfly.errors import BakeFailed
from dayfly.images.cloud.disk_image import Partition, RawDisk
from dayfly.images.process import run


async def ext_names(disk: RawDisk, partition: Partition, folder: str) -> tuple[str, ...]:
    """The names in a folder of an ext file system; none where the folder does not exist. Raises BakeFailed."""
    output = await _debugfs(disk, partition, f"ls -p {folder}")
    # Each entry is /inode/mode/uid/gid/name/size/; of a folder the size is empty.
    entries = [line.split("/") for line in output.splitlines() if line.startswith("/")]
    return tuple(fields[5] for fields in entries if len(fields) > 6 and fields[5] not in {".", "..", ""})


async def ext_has(disk: RawDisk, partition: Partition, path: str) -> bool:
    """Whether an ext file system has a file, folder or link with this path. Raises BakeFailed."""
    folder, _, name = path.rpartition("/")
    return name in await ext_names(disk, partition, folder or "/")


async def copy_from_ext(disk: RawDisk, partition: Partition, path: str, target: Path) -> None:
    """Copy a file of an ext file system to `target`. Raises BakeFailed, DiskFull."""
    output = await _debugfs(disk, partition, f"dump {path} {target.name}", folder=target.parent)
    if not _has_content(target):
        message = f"{path} cannot be read in the image's partition {partition.number}"
        raise BakeFailed(message, evidence={"output": output})


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


async def fat_files(disk: RawDisk, partition: Partition) -> tuple[str, ...]:
    """The paths of all files of a FAT file system, in upper case. Raises BakeFailed."""
    device = f"{disk.path}@@{partition.offset_bytes}"
    output = await run(["mdir", "-/", "-b", "-i", device, "::"], environment={"MTOOLS_SKIP_CHECK": "1"})
    return tuple(line.removeprefix("::").upper() for line in output.splitlines() if line.startswith("::"))


async def _debugfs(disk: RawDisk, partition: Partition, request: str, folder: Path | None = None) -> str:
    return await run(["debugfs", "-R", request, f"{disk.path}?offset={partition.offset_bytes}"], folder=folder)
