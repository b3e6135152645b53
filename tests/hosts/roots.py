"""Root file systems of the tested hosts with Dayfly, built once and cached by content. Not here: running them."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from dayfly.clock import SystemClock
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.recipe import RootFileSystem
from dayfly.images.rootfs import make_rootfs
from dayfly.settings import Settings
from tests.hosts.kinds import HostKind

REPO: Final = Path(__file__).parents[2]
SOURCES: Final = ("pyproject.toml", "README.md", "LICENSE", "service", "migrations", "provisioning")
"""The sources of Dayfly's installation."""


@asynccontextmanager
async def host_folders(kind: HostKind) -> AsyncIterator[tuple[Path, Path]]:
    """The root file system of `kind`, which is only to be read, and an empty folder that is removed at the end."""
    what = RootFileSystem(suite=kind.suite, packages=kind.packages)

    async def make(folder: Path) -> None:
        # Its apt sources stay: the host is there to install packages.
        await make_rootfs(what, folder / "rootfs", building=True)

    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        key = fingerprint(REPO, what)
        root = await cache.get(f"host-{kind.suite}-{kind.engine or 'bare'}", key, make) / "rootfs"
        async with cache.scratch() as scratch:
            yield root, scratch


def copy_sources(target: Path) -> None:
    """The sources of Dayfly in this checkout, without files that git ignores."""
    target.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "-C", REPO, "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *SOURCES],
        capture_output=True,
        check=True,
    ).stdout
    subprocess.run(
        ["tar", "--create", "--directory", REPO, "--null", "--files-from=-", "--file", target / ".tar"],
        input=listed,
        check=True,
    )
    subprocess.run(["tar", "--extract", "--directory", target, "--file", target / ".tar"], check=True)
    (target / ".tar").unlink()
