"""What a bake needs of the machine it runs on, said at its start and with what to do about it."""

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
_ROOTS_FOLDERS: Final = ":/usr/sbin:/sbin"
"""Of PATH: Debian gives them to root alone, and an ordinary user's host may have the tools all the same."""


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
    is_root = (os.geteuid() if user_id is None else user_id) == 0
    if not is_root:
        found.append(
            Missing("root", "root file systems are made with their owners and device nodes (run it with sudo)")
        )
    path = os.environ.get("PATH", os.defpath) + ("" if is_root else _ROOTS_FOLDERS)
    which = which or partial(shutil.which, path=path)
    tools = {tool: package for tool, package in TOOLS.items() if which(tool) is None}
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


def reason_for_container(missing: Sequence[Missing], in_container: bool | None) -> str | None:
    """Why a bake runs in a container; None: it runs on the host. `in_container` is what the caller asked for, if so."""
    if in_container is None:
        return f"a bake on this host lacks {', '.join(problem.what for problem in missing)}" if missing else None
    return "it was asked for" if in_container else None


def check_host() -> None:
    """Raises BakeFailed with everything that is missing, and how to get it."""
    if problems := missing():
        listed = "; ".join(f"{problem.what}: {problem.advice}" for problem in problems)
        raise BakeFailed(f"a bake on this host needs {listed}. `dayfly image bake --in-container` needs none of it")


def _has_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
