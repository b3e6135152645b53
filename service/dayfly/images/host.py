"""What a bake needs of the machine it runs on, said at its start and with what to do about it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Final

from dayfly.errors import BakeFailed

TOOLS: Final[Mapping[str, str]] = {
    "apt-get": "apt",
    "chroot": "coreutils",
    "cpio": "cpio",
    "lz4": "lz4",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "unshare": "util-linux",
}
"""Program → the Debian package that has it."""


def check_host() -> None:
    """Raises BakeFailed with everything that is missing, and how to get it."""
    problems = []
    if os.geteuid() != 0:
        problems.append("root: root file systems are made with their owners and device nodes (run it with sudo)")
    packages = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if packages:
        problems.append(f"programs: apt-get install {' '.join(packages)}")
    if importlib.util.find_spec("ansible") is None:
        problems.append("ansible-core: pip install 'dayfly[bake]'")
    if problems:
        raise BakeFailed("a bake needs " + "; ".join(problems))
