"""A cloud image as distributions publish them, of Debian's packages from this machine's mirrors. Cached by content.

Differences from Debian's own image: no apt sources (a bake writes those of its settings), no manual pages. Kinds beside
`whole` are broken, for tests of what a bake reports. Not here: partitions and boot loader (disk_layout.py), checksums
and signatures (cloud_files.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from dayfly.clock import SystemClock
from dayfly.images.apt_sources import Mirrors
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.process import SANDBOX, run
from dayfly.images.recipe import RootFileSystem
from dayfly.images.rootfs import make_rootfs
from dayfly.settings import Settings
from tests.support.lab import REPO
from tests.support.mirror.disk_layout import Layout, Partition, make_layout, wipe_boot_loader, write_disk

SUITE: Final = "bookworm"
MIB: Final = 3072
"""Of the disk, as in Debian's image; a bake or a node grows it."""
_PACKAGES: Final = (
    *("init", "linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "systemd-resolved", "udev", "dbus", "kmod"),
    *("cloud-init", "cloud-guest-utils", "netplan.io", "openssh-server", "sudo", "python3", "qemu-guest-agent"),
    *("iproute2", "iputils-ping", "ca-certificates", "curl", "fdisk", "e2fsprogs", "dosfstools", "less", "procps"),
    # grub-cloud-amd64 does not depend on GRUB's modules for every platform in each release of Debian.
    *("grub-cloud-amd64", "grub-pc-bin", "grub-efi-amd64-bin", "grub-common"),
)
_FILES: Final = ("tests/support/mirror/cloud_image.py", "tests/support/mirror/disk_layout.py")
_IMAGE: Final = "disk.qcow2"
_ROOT: Final = "rootfs"

Kind = Literal["whole", "no-boot-loader", "no-cloud-init"]


@dataclass(frozen=True)
class CloudImage:
    """A qcow2 file, compressed as published images are, and its layout."""

    path: Path
    layout: Layout


@asynccontextmanager
async def cloud_image(kind: Kind = "whole") -> AsyncIterator[CloudImage]:
    """The image of `kind`, from the cache or made (two minutes); no other test removes it during the block.

    Needs root, mmdebstrap and TEST_PACKAGES. Raises BakeFailed, DiskFull.
    """
    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        yield _read(await _entry(cache, kind))


async def _entry(cache: Cache, kind: Kind) -> Path:
    async def make(folder: Path) -> None:
        if kind == "no-boot-loader":
            whole = _read(await _entry(cache, "whole"))
            shutil.copyfile(whole.path, folder / _IMAGE)
            await wipe_boot_loader(folder / _IMAGE, whole.layout)
            _write_layout(folder, whole.layout)
        else:
            await run(["cp", "-a", "--reflink=auto", await _root(cache), folder / _ROOT])
            await _make(folder, without_cloud_init=kind == "no-cloud-init")

    return await cache.get(f"test-cloud-image-{kind}", _key(kind), make)


async def _root(cache: Cache) -> Path:
    """The root file system of all kinds: mmdebstrap takes longer than all else."""

    async def make(folder: Path) -> None:
        what, settings = RootFileSystem(suite=SUITE, packages=_PACKAGES), Settings()
        mirrors = Mirrors(settings.debian_mirror, settings.debian_security_mirror)
        await make_rootfs(what, folder / _ROOT, mirrors=mirrors)

    return await cache.get("test-cloud-root", _key(), make) / _ROOT


def _key(*values: str) -> str:
    return fingerprint(REPO, SUITE, *values, files=_FILES)


async def _make(folder: Path, *, without_cloud_init: bool) -> None:
    root, raw = folder / _ROOT, folder / "disk.raw"
    if without_cloud_init:
        await run([*SANDBOX, "chroot", root, "dpkg", "--purge", "cloud-init"], name="dpkg --purge cloud-init")
    layout = make_layout(MIB)
    _configure(root, layout)
    await write_disk(root, raw, layout)
    await run(["qemu-img", "convert", "-c", "-W", "-f", "raw", "-O", "qcow2", raw, folder / _IMAGE])
    _write_layout(folder, layout)
    raw.unlink()
    shutil.rmtree(root)


def _configure(root: Path, layout: Layout) -> None:
    """Write the files that differ between a root file system and a cloud image."""
    (kernel,) = (path.name.removeprefix("vmlinuz-") for path in (root / "boot").glob("vmlinuz-*"))
    texts = {
        "etc/fstab": f"PARTUUID={layout.root.id} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1\n"
        f"PARTUUID={layout.esp.id} /boot/efi vfat umask=0077 0 1\n",
        "etc/hostname": "localhost\n",
        "etc/machine-id": "uninitialized\n",
        "boot/grub/grub.cfg": _grub_config(layout, kernel),
    }
    if (root / "etc/cloud").is_dir():
        texts["etc/cloud/cloud.cfg.d/01_debian_cloud.cfg"] = "apt_preserve_sources_list: true\nmanage_etc_hosts: true\n"
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "boot/efi").mkdir(exist_ok=True)
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()


def _grub_config(layout: Layout, kernel: str) -> str:
    return f"""\
set timeout=0
serial --speed=115200
terminal_input console serial
terminal_output console serial
insmod part_gpt
insmod ext2
search --no-floppy --fs-uuid --set=root {layout.root_uuid}
menuentry 'Debian GNU/Linux' {{
    linux /boot/vmlinuz-{kernel} root=PARTUUID={layout.root.id} ro console=tty0 console=ttyS0,115200
    initrd /boot/initrd.img-{kernel}
}}
"""


def _write_layout(folder: Path, layout: Layout) -> None:
    (folder / "layout.json").write_text(json.dumps(asdict(layout)))


def _read(folder: Path) -> CloudImage:
    known = json.loads((folder / "layout.json").read_text())
    bios, esp, root = (Partition(**known[name]) for name in ("bios", "esp", "root"))
    return CloudImage(folder / _IMAGE, Layout(known["mib"], bios, esp, root, known["root_uuid"]))
