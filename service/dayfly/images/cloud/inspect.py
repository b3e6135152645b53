"""Inspects a cloud image before its first boot: partitions, boot loaders, cloud-init, kernel and initrd.

Nothing is mounted, and nothing needs root. What lies in a file system that cannot be read so (XFS, Btrfs) is not known:
only the first boot shows it. Not here: the reading (disk_image.py, files.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.domain.image import Boot, Firmware
from dayfly.errors import NoBootLoader, NoCloudInit, NotADiskImage
from dayfly.images.cloud.disk_image import Partition, RawDisk, read_disk
from dayfly.images.cloud.files import copy_from_ext, ext_has, ext_names, fat_files
from dayfly.images.cloud.versions import version_key

_KERNELS: Final = ("vmlinuz-", "vmlinux-", "Image-")
_PLAIN_NAME: Final = re.compile(r"[\w.+~-]+", re.ASCII)
"""Of files that debugfs is asked for: its requests have no way to quote all characters."""
_INITRDS: Final = ("initrd.img-", "initramfs-", "initrd-")
_ROOT_MARKS: Final = ("/usr/lib/os-release", "/etc/os-release")
_CLOUD_INIT: Final = ("/usr/bin/cloud-init", "/usr/sbin/cloud-init", "/bin/cloud-init")
_OTHER_ROOTS: Final = frozenset({"xfs", "btrfs"})


@dataclass(frozen=True)
class KernelFiles:
    """The newest kernel and its initrd: paths in the file system of `partition`."""

    partition: Partition
    kernel: str
    initrd: str


@dataclass(frozen=True)
class Inspection:
    """What an image has. `root` None: no root file system was found. `cloud_init` None: not known."""

    disk: RawDisk
    root: Partition | None
    has_bios_loader: bool
    has_uefi_loader: bool
    cloud_init: bool | None
    kernel: KernelFiles | None

    def boot(self, firmware: Firmware) -> Boot:
        """The manifest's value for nodes that start in this way.

        Raises NotADiskImage without partitions, NoBootLoader, NoCloudInit.
        """
        if not self.disk.partitions:
            raise NotADiskImage("the image has no partition table: a cloud image has partitions and a boot loader")
        if self.cloud_init is False:
            raise NoCloudInit("the image has no cloud-init, which gives the first boot its keys: use a cloud image")
        able = {
            "bios": self.has_bios_loader,
            "uefi": self.has_uefi_loader,
            "direct": self.kernel is not None and self.root is not None,
        }
        if not able[firmware]:
            others = ", ".join(name for name, is_able in able.items() if is_able) or "in no way"
            raise NoBootLoader(f"the image has {_LACKS[firmware]} (boot: {firmware}); it can boot: {others}")
        root = f"PARTUUID={self.root.uuid}" if firmware == "direct" and self.root is not None else "/dev/vda"
        return Boot(firmware=firmware, root=root)


_LACKS: Final[dict[Firmware, str]] = {
    "bios": "no boot loader for BIOS",
    "uefi": "no boot loader for UEFI",
    "direct": "no kernel with an initrd in a file system that can be read (ext4)",
}


async def inspect(image: Path, scratch: Path) -> Inspection:
    """What the image has; `scratch`/disk.raw becomes a copy of its disk. Raises NotADiskImage, BakeFailed, DiskFull."""
    disk = await read_disk(image, scratch)
    root = await _root(disk)
    return Inspection(
        disk=disk,
        root=root,
        has_bios_loader=_has_bios_loader(disk),
        has_uefi_loader=await _has_uefi_loader(disk),
        cloud_init=await _has_cloud_init(disk, root),
        kernel=await _kernel(disk),
    )


async def copy_kernel(inspection: Inspection, target: Path) -> None:
    """Copy kernel and initrd to `target`/vmlinuz and initrd. Raises NoBootLoader, BakeFailed, DiskFull."""
    found = inspection.kernel
    if found is None:
        raise NoBootLoader(f"the image has {_LACKS['direct']}")
    await copy_from_ext(inspection.disk, found.partition, found.kernel, target / "vmlinuz")
    await copy_from_ext(inspection.disk, found.partition, found.initrd, target / "initrd")


def _has_bios_loader(disk: RawDisk) -> bool:
    """The first sector has a program, and with GPT there is a place for its second stage."""
    return disk.has_boot_code and (disk.label != "gpt" or any(one.is_bios_boot for one in disk.partitions))


async def _has_uefi_loader(disk: RawDisk) -> bool:
    for partition in disk.partitions:
        if partition.is_efi and partition.file_system == "fat":
            names = await fat_files(disk, partition)
            # Without variables of its own, a new machine finds only the default path.
            if "/EFI/BOOT/BOOTX64.EFI" in names:
                return True
    return False


async def _root(disk: RawDisk) -> Partition | None:
    for partition in _ext(disk):
        for mark in _ROOT_MARKS:
            if await ext_has(disk, partition, mark):
                return partition
    others = [one for one in disk.partitions if one.file_system in _OTHER_ROOTS]
    return max(others, key=lambda one: one.size_bytes, default=None)


async def _has_cloud_init(disk: RawDisk, root: Partition | None) -> bool | None:
    if root is None:
        return False
    if root.file_system != "ext":
        return None
    return any([await ext_has(disk, root, path) for path in _CLOUD_INIT])


async def _kernel(disk: RawDisk) -> KernelFiles | None:
    """/boot is a folder of the root file system, or a file system of its own."""
    for partition in _ext(disk):
        for folder in ("/boot", ""):
            names = await ext_names(disk, partition, folder or "/")
            if found := _newest(names):
                return KernelFiles(partition, f"{folder}/{found[0]}", f"{folder}/{found[1]}")
    return None


def _newest(names: tuple[str, ...]) -> tuple[str, str] | None:
    """The kernel with the highest version that has an initrd; rescue kernels do not count."""
    versions = {
        name.removeprefix(prefix): name
        for prefix in _KERNELS
        for name in names
        if name.startswith(prefix) and "rescue" not in name and _PLAIN_NAME.fullmatch(name)
    }
    for version in sorted(versions, key=version_key, reverse=True):
        for initrd in (*(f"{prefix}{version}" for prefix in _INITRDS), f"initramfs-{version}.img"):
            if initrd in names:
                return versions[version], initrd
    return None


def _ext(disk: RawDisk) -> tuple[Partition, ...]:
    return tuple(one for one in disk.partitions if one.file_system == "ext")
