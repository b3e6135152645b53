"""The programs that cloud images need on this machine, beside those of every bake (host.py)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Final

from dayfly.errors import BakeFailed

TOOLS: Final[Mapping[str, str]] = {
    "debugfs": "e2fsprogs",
    "gpgv": "gpgv",
    "mcopy": "mtools",
    "mdir": "mtools",
    "mformat": "mtools",
    "qemu-img": "qemu-utils",
    "sfdisk": "fdisk",
    "ssh": "openssh-client",
}
"""Program → its Debian package."""


def check_tools(which: Callable[[str], str | None] = shutil.which) -> None:
    """Raises BakeFailed with all missing programs and their packages."""
    if missing := sorted(tool for tool in TOOLS if which(tool) is None):
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        raise BakeFailed(f"cloud images need {', '.join(missing)}: apt-get install {packages}")
