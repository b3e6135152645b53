"""What a bake needs of the machine it runs on, said at its start and with what to do about it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
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

KEYRING_PACKAGE: Final = "debian-archive-keyring"
_KEYRINGS: Final = tuple(Path(f"/usr/share/keyrings/{KEYRING_PACKAGE}.{ending}") for ending in ("gpg", "pgp"))
"""The package's file had only the first name, then both."""


@dataclass(frozen=True)
class Missing:
    """Something that a bake needs and this machine lacks."""

    what: str
    advice: str


def find_keyring(root: Path = Path("/")) -> Path | None:
    """Debian's keys as apt reads them, below `root`; None where their package is not installed."""
    return next((path for path in _KEYRINGS if (root / path.relative_to("/")).exists()), None)


def missing(
    *,
    which: Callable[[str], str | None] | None = None,
    has_module: Callable[[str], bool] | None = None,
    user_id: int | None = None,
    root: Path = Path("/"),
) -> tuple[Missing, ...]:
    """Everything that is missing; by default on this machine, for the user that runs this."""
    found = []
    if (os.geteuid() if user_id is None else user_id) != 0:
        found.append(
            Missing("root", "root file systems are made with their owners and device nodes (run it with sudo)")
        )
    tools = {tool: package for tool, package in TOOLS.items() if (which or shutil.which)(tool) is None}
    packages = set(tools.values())
    lacking = sorted(tools)
    if find_keyring(root) is None:
        packages.add(KEYRING_PACKAGE)
        lacking.append("Debian's keyring")
    if packages:
        found.append(Missing(", ".join(lacking), f"apt-get install {' '.join(sorted(packages))}"))
    if not (has_module or _has_module)("ansible"):
        found.append(Missing("ansible-core", "pip install 'dayfly[bake]'"))
    return tuple(found)


def check_host() -> None:
    """Raises BakeFailed with everything that is missing, and how to get it."""
    if problems := missing():
        raise BakeFailed("a bake needs " + "; ".join(f"{problem.what}: {problem.advice}" for problem in problems))


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
