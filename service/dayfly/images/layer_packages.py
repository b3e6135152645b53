"""Debian packages on top of a root file system. Not here: where they come from (apt.py), the play (layer_rootfs.py).

apt runs on the build machine, with its access to mirrors; dpkg and the packages' scripts run in the root file system.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dayfly.images.apt import find_sources
from dayfly.images.apt_sources import Mirrors
from dayfly.images.process import SANDBOX, run
from dayfly.images.rootfs import OnLine

_INSTALL: Final = """\
"$0" "$1"
export APT_CONFIG="$2" DEBIAN_FRONTEND=noninteractive
shift 2
apt-get update --error-on=any
apt-get install --yes "$@"
"""
_LEFTOVERS: Final = (
    "etc/apt/sources.list",
    "var/log/apt",
    *("var/cache/apt/pkgcache.bin", "var/cache/apt/srcpkgcache.bin", "var/cache/debconf/*-old"),
    *("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "var/lib/dpkg/*-old", "var/log/*.log"),
    "boot/initrd.img-*",
)
"""Of the installation; the layer's nodes need none of it. The initrd is that of the image below."""
_NO_DOCUMENTS: Final = tuple(f"--path-exclude=/usr/share/{folder}/*" for folder in ("man", "locale", "info", "lintian"))


async def install_packages(
    packages: Iterable[str],
    rootfs: Path,
    *,
    suite: str,
    work: Path,
    root: Path,
    mirrors: Mirrors | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Install `packages` of `suite` in `rootfs`. Raises BakeFailed, DiskFull."""
    sources = await find_sources(suite, mirrors=mirrors)
    # `copy:`, because dpkg cannot see a mirror that is a folder of this machine.
    (rootfs / "etc/apt/sources.list").write_text(sources.lines().replace("] file:", "] copy:"))
    configuration = work / "apt.conf"
    options = (
        f'Dir "{rootfs}/"',
        f'DPkg::Chroot-Directory "{rootfs}"',
        'APT::Install-Recommends "false"',
        'Dpkg::Use-Pty "false"',
        *(f'DPkg::Options:: "{option}"' for option in ("--force-unsafe-io", *_NO_DOCUMENTS)),
        *sources.options,
    )
    configuration.write_text("".join(f"{option};\n" for option in options))
    argv: list[str | Path] = [
        *SANDBOX,
        "sh",
        "-ec",
        _INSTALL,
        root / "base" / "mount",
        rootfs,
        configuration,
        *sorted(packages),
    ]
    await run(argv, name="apt-get", on_line=on_line)
    configuration.unlink()
    _clean(rootfs)


def _clean(rootfs: Path) -> None:
    for pattern in _LEFTOVERS:
        for path in rootfs.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
