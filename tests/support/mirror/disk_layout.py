"""The disk of a cloud image: a GPT, GRUB for BIOS and UEFI, and a root partition. No loop device, no mount.

Not here: the root file system (cloud_image.py).
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dayfly.images.process import run

SECTOR_BYTES: Final = 512
_MIB_SECTORS: Final = (1 << 20) // SECTOR_BYTES
_GRUB: Final = "usr/lib/grub"
_MODULES: Final = (
    "part_gpt",
    "ext2",
    "search",
    "search_fs_uuid",
    "serial",
    "terminal",
    "linux",
    "normal",
    "configfile",
)
_BIOS_MODULES: Final = ("biosdisk",)
_EFI_MODULES: Final = ("fat", "efi_gop")
_SCRATCH: Final = "grub-scratch"

# Bytes of GRUB's first sectors, as grub-bios-setup writes them (grub-core/boot/i386/pc/{boot,diskboot}.S).
_BOOT_CODE_BYTES: Final = 440
"""The rest of the first sector is the partition table."""
_KERNEL_SECTOR: Final = 0x5C
"""In boot.img: the sector of core.img."""
_DRIVE_CHECK: Final = slice(0x66, 0x68)
"""In boot.img: a jump for floppy disks, which becomes two NOPs."""
_BLOCK_LIST: Final = 0x1F4
"""In core.img: the sector of its rest."""


@dataclass(frozen=True)
class Partition:
    """`number`, place in sectors, and GPT type; as in Debian's cloud images."""

    number: int
    start: int
    sectors: int
    type: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def offset(self) -> int:
        return self.start * SECTOR_BYTES

    @property
    def script(self) -> str:
        return f"{self.number}: start={self.start}, size={self.sectors}, type={self.type}, uuid={self.id}\n"


@dataclass(frozen=True)
class Layout:
    """The partitions of a disk; `root_uuid` is the UUID of the root file system."""

    mib: int
    bios: Partition
    esp: Partition
    root: Partition
    root_uuid: str


def make_layout(mib: int, *, esp_mib: int = 124) -> Layout:
    """The layout of a disk of `mib` MiB. The root partition is the last one, so it can grow."""
    bios = Partition(14, _MIB_SECTORS, 3 * _MIB_SECTORS, "21686148-6449-6E6F-744E-656564454649")
    esp = Partition(15, bios.start + bios.sectors, esp_mib * _MIB_SECTORS, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
    start = esp.start + esp.sectors
    # The last MiB has the second copy of the table.
    size = (mib - 1) * _MIB_SECTORS - start
    root = Partition(1, start, size, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709")
    return Layout(mib, bios, esp, root, str(uuid.uuid4()))


async def write_disk(rootfs: Path, raw: Path, layout: Layout) -> None:
    """Write `rootfs`, which has GRUB's packages, fstab and grub.cfg, as the bootable disk `raw`.

    Raises BakeFailed, DiskFull.
    """
    for platform in ("i386-pc", "x86_64-efi"):
        await run(["cp", "-rT", rootfs / _GRUB / platform, rootfs / "boot/grub" / platform])
    core = await _make_core(rootfs, "i386-pc", layout, (*_BIOS_MODULES, *_MODULES))
    efi = await _make_core(rootfs, "x86_64-efi", layout, (*_EFI_MODULES, *_MODULES))
    with raw.open("wb") as file:
        file.truncate(layout.mib << 20)
    table = "label: gpt\nfirst-lba: 2048\n" + "".join(one.script for one in (layout.bios, layout.esp, layout.root))
    await run(["sfdisk", "--quiet", raw], stdin=table)
    await run(
        [
            *("mke2fs", "-q", "-F", "-t", "ext4", "-U", layout.root_uuid, "-d", rootfs),
            *("-E", f"offset={layout.root.offset},lazy_itable_init=1,lazy_journal_init=1,nodiscard"),
            *(raw, f"{layout.root.sectors * SECTOR_BYTES >> 10}k"),
        ]
    )
    _write_bios_loader(raw, (rootfs / _GRUB / "i386-pc/boot.img").read_bytes(), core, layout.bios)
    await _write_esp(raw, efi, layout.esp)


async def _make_core(rootfs: Path, platform: str, layout: Layout, modules: tuple[str, ...]) -> bytes:
    """GRUB's image for `platform`, made by the GRUB of `rootfs`; reads grub.cfg of the root file system."""
    scratch = rootfs / _SCRATCH
    scratch.mkdir()
    config = f"search.fs_uuid {layout.root_uuid} root\nset prefix=($root)/boot/grub\n"
    (scratch / "early.cfg").write_text(config)
    argv = ["grub-mkimage", "-O", platform, "-o", f"/{_SCRATCH}/core", "-c", f"/{_SCRATCH}/early.cfg"]
    await run(["chroot", rootfs, *argv, "-p", "/boot/grub", *modules], name="grub-mkimage")
    core = (scratch / "core").read_bytes()
    for file in scratch.iterdir():
        file.unlink()
    scratch.rmdir()
    return core


def _write_bios_loader(raw: Path, boot: bytes, core: bytes, partition: Partition) -> None:
    """Write GRUB's first sector before the partition table, and the rest into `partition`."""
    assert len(core) <= partition.sectors * SECTOR_BYTES, "core.img is larger than the BIOS-boot partition"
    first, rest = bytearray(boot), bytearray(core)
    struct.pack_into("<Q", first, _KERNEL_SECTOR, partition.start)
    first[_DRIVE_CHECK] = b"\x90\x90"
    struct.pack_into("<Q", rest, _BLOCK_LIST, partition.start + 1)
    with raw.open("r+b") as file:
        file.write(first[:_BOOT_CODE_BYTES])
        file.seek(partition.offset)
        file.write(rest)


async def _write_esp(raw: Path, loader: bytes, partition: Partition) -> None:
    """Write a FAT file system with `loader` at the path that firmware starts without an entry of its own."""
    program, image = raw.with_suffix(".efi"), raw.with_suffix(".esp")
    program.write_bytes(loader)
    with image.open("wb") as file:
        file.truncate(partition.sectors * SECTOR_BYTES)
    await run(["mkfs.vfat", "-n", "ESP", image])
    await run(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT"])
    await run(["mcopy", "-i", image, program, "::/EFI/BOOT/BOOTX64.EFI"])
    place = f"seek={partition.offset >> 20}"
    await run(["dd", f"if={image}", f"of={raw}", "bs=1M", place, "conv=notrunc,sparse", "status=none"])
    program.unlink()
    image.unlink()


async def wipe_boot_loader(image: Path, layout: Layout) -> None:
    """Overwrite the boot loaders of the qcow2 `image` with zeros; partition table and root file system stay."""
    areas = ((0, _BOOT_CODE_BYTES), *((one.offset, one.sectors * SECTOR_BYTES) for one in (layout.bios, layout.esp)))
    commands = [word for offset, length in areas for word in ("-c", f"write -z {offset} {length}")]
    await run(["qemu-io", "-f", "qcow2", *commands, image])
