"""The requirements of a bake on its host, checked at the start, with advice for each that is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from dayfly.errors import BakeFailed

TOOLS: Final[Mapping[str, str]] = {
    "apt-get": "apt",
    "chroot": "coreutils",
    "cpio": "cpio",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "lz4": "lz4",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "unshare": "util-linux",
}
"""Program → its Debian package."""
KEYRING_PACKAGE: Final = "debian-archive-keyring"
_KEYRINGS: Final = tuple(Path(f"/usr/share/keyrings/{KEYRING_PACKAGE}.{ending}") for ending in ("gpg", "pgp"))
"""Older packages have only the first name, newer packages both."""
_ROOTS_FOLDERS: Final = ":/usr/sbin:/sbin"
"""Folders that Debian has only in root's PATH: an ordinary user's host may have the tools all the same."""


@dataclass(frozen=True)
class Missing:
    what: str
    advice: str


def find_keyring(root: Path = Path("/")) -> Path | None:
    """Debian's keyring below `root`; None when its package is not installed."""
    return next((path for path in _KEYRINGS if (root / path.relative_to("/")).exists()), None)


def missing(
    *,
    which: Callable[[str], str | None] | None = None,
    has_module: Callable[[str], bool] | None = None,
    user_id: int | None = None,
    root: Path = Path("/"),
) -> tuple[Missing, ...]:
    """All missing requirements; by default of this machine, for the current user."""
    found = []
    is_root = (os.geteuid() if user_id is None else user_id) == 0
    if not is_root:
        found.append(
            Missing(
                "root", "run `dayfly image bake` with sudo: root file systems have files of all owners and device nodes"
            )
        )
    path = os.environ.get("PATH", os.defpath) + ("" if is_root else _ROOTS_FOLDERS)
    which = which or partial(shutil.which, path=path)
    tools = {tool: package for tool, package in TOOLS.items() if which(tool) is None}
    packages = set(tools.values())
    names = sorted(tools)
    if find_keyring(root) is None:
        packages.add(KEYRING_PACKAGE)
        names.append("Debian's keyring")
    if packages:
        found.append(Missing(", ".join(names), f"apt-get install {' '.join(sorted(packages))}"))
    if not (has_module or _has_module)("ansible"):
        found.append(Missing("ansible-core", "pip install 'dayfly[bake]'"))
    return tuple(found)


def reason_for_container(missing: Sequence[Missing], in_container: bool | None) -> str | None:
    """Why a bake runs in a container; None: it runs on the host. `in_container` is the caller's choice, if any."""
    if in_container is None:
        return f"a bake on this host lacks {', '.join(problem.what for problem in missing)}" if missing else None
    return "--in-container was given" if in_container else None


def check_host() -> None:
    """Raises BakeFailed with all missing requirements and the advice for each."""
    if problems := missing():
        listed = "; ".join(f"{problem.what}: {problem.advice}" for problem in problems)
        raise BakeFailed(f"a bake on this host needs {listed}. `dayfly image bake --in-container` needs none of it")


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
