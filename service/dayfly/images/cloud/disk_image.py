"""A disk image's format, size and partitions, read without mounts: qemu-img, sfdisk, the magic numbers of file systems.

Not here: files within the file systems (files.py), and whether the image can become a node (inspect.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from dayfly.errors import BakeFailed, NotADiskImage
from dayfly.images.process import run

Format = Literal["qcow2", "raw"]
FileSystem = Literal["ext", "xfs", "btrfs", "fat", ""]

SECTOR_BYTES: Final = 512
_MBR_END: Final = b"\x55\xaa"
_BOOT_CODE_BYTES: Final = 440
_QCOW2_MAGIC: Final = b"QFI\xfb"
_MAGICS: Final[tuple[tuple[FileSystem, int, bytes], ...]] = (
    ("ext", 0x438, b"\x53\xef"),
    ("xfs", 0, b"XFSB"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("fat", 0x52, b"FAT32"),
    ("fat", 0x36, b"FAT1"),
)
_EFI_TYPES: Final = frozenset({"C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EF"})
_BIOS_BOOT_TYPE: Final = "21686148-6449-6E6F-744E-656564454649"


@dataclass(frozen=True)
class Partition:
    """`number` as the kernel counts; `uuid`: the PARTUUID; `file_system` empty: none that is known."""

    number: int
    offset_bytes: int
    size_bytes: int
    type: str
    uuid: str
    file_system: FileSystem

    @property
    def is_efi(self) -> bool:
        return self.type.upper() in _EFI_TYPES

    @property
    def is_bios_boot(self) -> bool:
        """For the second stage of a BIOS boot loader, on a disk with GPT."""
        return self.type.upper() == _BIOS_BOOT_TYPE


@dataclass(frozen=True)
class RawDisk:
    """A raw copy of an image, with its partitions. `label` is `gpt` or `dos`; empty: there is no partition table."""

    path: Path
    label: str
    partitions: tuple[Partition, ...]
    has_boot_code: bool
    """Whether the first sector has a program that a BIOS runs."""


async def image_format(image: Path) -> Format:
    """The format of `image`. Raises NotADiskImage for another one, and for an image that names other files."""
    with image.open("rb") as file:
        head = file.read(SECTOR_BYTES)
    if not head.startswith(_QCOW2_MAGIC):
        if len(head) == SECTOR_BYTES and head.endswith(_MBR_END):
            return "raw"
        raise NotADiskImage(f"{image.name} is neither qcow2 nor a raw disk with a partition table")
    information = await _information(image, "qcow2")
    specific = information.get("format-specific", {}).get("data", {})
    # QEMU would read any file of this machine that such an image names.
    for named in (information.get("backing-filename"), specific.get("data-file")):
        if named:
            raise NotADiskImage(f"{image.name} names another file ({named}), which is refused")
    return "qcow2"


async def virtual_size(image: Path, format_: Format) -> int:
    """The size of the disk in bytes. Raises NotADiskImage."""
    return int((await _information(image, format_))["virtual-size"])


async def read_disk(image: Path, scratch: Path) -> RawDisk:
    """The partitions of `image`, of which `scratch`/disk.raw becomes a sparse copy. Raises NotADiskImage, DiskFull."""
    format_ = await image_format(image)
    if format_ == "qcow2":
        await _check(image)
    raw = scratch / "disk.raw"
    try:
        await run(["qemu-img", "convert", "-f", format_, "-O", "raw", image, raw])
    except BakeFailed as error:
        raise NotADiskImage(f"{image.name} cannot be read: {error.message}", evidence=error.evidence) from error
    with raw.open("rb") as file:
        head = file.read(SECTOR_BYTES)
    has_boot_code = head.endswith(_MBR_END) and any(head[:_BOOT_CODE_BYTES])
    label, partitions = await _partitions(raw)
    return RawDisk(raw, label, partitions, has_boot_code)


async def _check(image: Path) -> None:
    """Raise NotADiskImage for a damaged image: QEMU reads zeros where a file is truncated."""
    try:
        await run(["qemu-img", "check", "-q", "-f", "qcow2", image])
    except BakeFailed as error:
        output = error.evidence.get("output", "")
        # Clusters that nothing uses are an error of this command, but no damage.
        if "ERROR" in output or "Leaked cluster" not in output:
            raise NotADiskImage(f"{image.name} is damaged or truncated", evidence=error.evidence) from error


async def _information(image: Path, format_: Format) -> dict[str, Any]:
    try:
        output = await run(["qemu-img", "info", "--output=json", "-f", format_, image])
    except BakeFailed as error:
        raise NotADiskImage(f"{image.name} cannot be read: {error.message}", evidence=error.evidence) from error
    return _json(output)


async def _partitions(raw: Path) -> tuple[str, tuple[Partition, ...]]:
    try:
        table = _json(await run(["sfdisk", "--json", raw]))["partitiontable"]
    except BakeFailed as error:
        if "does not contain a recognized partition table" in error.evidence.get("output", ""):
            return "", ()
        raise
    sector = int(table.get("sectorsize", SECTOR_BYTES))
    found = [_partition(raw, one, sector, table) for one in table.get("partitions", ())]
    return str(table["label"]), tuple(found)


def _partition(raw: Path, entry: dict[str, Any], sector: int, table: dict[str, Any]) -> Partition:
    offset = int(entry["start"]) * sector
    number = int(str(entry["node"]).removeprefix(str(raw)).lstrip("p"))
    # Partitions of a DOS table have no UUID of their own: the kernel makes one of the disk's.
    uuid = str(entry.get("uuid") or f"{str(table.get('id', '')).removeprefix('0x')}-{number:02}").lower()
    return Partition(number, offset, int(entry["size"]) * sector, str(entry["type"]), uuid, _file_system(raw, offset))


def _file_system(raw: Path, offset: int) -> FileSystem:
    with raw.open("rb") as file:
        for name, position, magic in _MAGICS:
            file.seek(offset + position)
            if file.read(len(magic)) == magic:
                return name
    return ""


def _json(output: str) -> dict[str, Any]:
    """The JSON object in a command's output, which may have warnings around it."""
    found = json.loads(output[output.index("{") : output.rindex("}") + 1])
    assert isinstance(found, dict)  # noqa: S101 - it begins with {
    return found
