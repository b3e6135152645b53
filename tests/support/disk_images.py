"""Small disk images with partitions, as those of distributions: made by sfdisk, mke2fs and mtools, without mounts.

They do not boot: their boot loaders and kernels are a few bytes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
ROOT_UUID: Final = "0f5c2d68-5a52-4a28-9b55-3c1b8b6f2a11"
_BIOS_BOOT: Final = "21686148-6449-6E6F-744E-656564454649"
_EFI: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
CLOUD_FILES: Final = {
    "/usr/lib/os-release": "ID=lab\n",
    "/usr/bin/cloud-init": "#!/bin/sh\n",
    "/boot/vmlinuz-6.1.0-9-cloud": "old kernel",
    "/boot/initrd.img-6.1.0-9-cloud": "old initrd",
    "/boot/vmlinuz-6.1.0-10-cloud": "new kernel",
    "/boot/initrd.img-6.1.0-10-cloud": "new initrd",
}


@dataclass(frozen=True)
class DiskImage:
    """What an image has. `files`: of its root file system; of one that is not ext4, the magic number alone.

    `boot_files`: of a file system of its own for /boot.
    """

    files: Mapping[str, str] = field(default_factory=lambda: CLOUD_FILES)
    boot_files: Mapping[str, str] | None = None
    file_system: str = "ext"
    label: str = "gpt"
    boot_code: bool = True
    bios_partition: bool = True
    efi_files: tuple[str, ...] | None = ("EFI/BOOT/BOOTX64.EFI",)

    def make(self, folder: Path, *, qcow2: bool = True) -> Path:
        """The image in `folder`, 48 MiB large."""
        folder.mkdir(parents=True, exist_ok=True)
        raw = folder / "made.raw"
        with raw.open("wb") as file:
            file.truncate(48 * MIB)
        self._partition(raw)
        if self.boot_code:
            with raw.open("r+b") as file:
                file.write(b"\xeb\x63\x90GRUB")
        if self.efi_files is not None:
            _fat(folder, raw, 2, self.efi_files)
        if self.boot_files is not None:
            _ext4(folder, raw, 12, 8, self.boot_files)
        if self.file_system == "ext":
            _ext4(folder, raw, 20, 24, self.files)
        else:
            magic = {"xfs": (0, b"XFSB"), "btrfs": (0x10040, b"_BHRfS_M")}[self.file_system]
            _write(raw, 20 * MIB + magic[0], magic[1])
        if not qcow2:
            return raw
        image = folder / "made.qcow2"
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
        raw.unlink()
        return image

    def _partition(self, raw: Path) -> None:
        lines = [f"label: {self.label}"]
        if self.label == "gpt":
            if self.bios_partition:
                lines.append(f"14: start=2048, size=2048, type={_BIOS_BOOT}")
            if self.efi_files is not None:
                lines.append(f"15: start={2 * 2048}, size={10 * 2048}, type={_EFI}")
            if self.boot_files is not None:
                lines.append(f"2: start={12 * 2048}, size={8 * 2048}, type={_LINUX}")
            lines.append(f"1: start={20 * 2048}, size={24 * 2048}, type={_LINUX}, uuid={ROOT_UUID}")
        else:
            lines += ["label-id: 0xabcd1234", f"1: start={20 * 2048}, size={24 * 2048}, type=83"]
        run("sfdisk", "-q", raw, stdin="\n".join(lines))


def run(*command: str | Path, stdin: str = "") -> str:
    done = subprocess.run([str(one) for one in command], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ext4(folder: Path, raw: Path, start_mib: int, size_mib: int, files: Mapping[str, str]) -> None:
    tree = folder / f"tree.{start_mib}"
    tree.mkdir()
    for path, text in files.items():
        target = tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    offset = f"offset={start_mib * MIB}"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, "-E", offset, raw, f"{size_mib * 1024}k")


def _fat(folder: Path, raw: Path, start_mib: int, files: tuple[str, ...]) -> None:
    device = f"{raw}@@{start_mib * MIB}"
    run("mformat", "-i", device, "-T", str(10 * 2048), "-h", "16", "-s", "32", "::")
    program = folder / "program.efi"
    program.write_bytes(b"MZ")
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            subprocess.run(["mmd", "-i", device, "-D", "s", f"::/{'/'.join(parts[:depth])}"], check=False)
        run("mcopy", "-i", device, "-o", program, f"::/{path}")


def _write(raw: Path, offset: int, content: bytes) -> None:
    with raw.open("r+b") as file:
        file.seek(offset)
        file.write(content)
