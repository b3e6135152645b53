"""Programs of other Debian suites, from this machine's mirrors: nothing is installed. Cached by suite and package."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from dayfly.clock import SystemClock
from dayfly.images.apt import find_sources
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.process import SANDBOX, run
from dayfly.settings import Settings
from tests.support.lab import REPO


async def debian_program(suite: str, package: str, program: str) -> Path:
    """`program` (a path below `/`) of the newest `package` of `suite`; it runs with this machine's libraries."""

    async def make(folder: Path) -> None:
        root = folder / "root"
        await extract_packages(suite, [package], root)
        (root / program).rename(folder / Path(program).name)
        shutil.rmtree(root)

    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        key = fingerprint(REPO, suite, package, program)
        return await cache.get(f"test-{suite}-{package}", key, make) / Path(program).name


async def extract_packages(suite: str, packages: Sequence[str], root: Path) -> None:
    """Extract `packages` of `suite` and their dependencies into `root`: no script of a package runs.

    Raises BakeFailed, DiskFull.
    """
    sources = await find_sources(suite)
    options = [f"--aptopt={option}" for option in sources.options]
    argv = [
        "mmdebstrap",
        "--variant=extract",
        "--mode=root",
        "--skip=cleanup",
        f"--include={','.join(packages)}",
        *options,
    ]
    await run([*SANDBOX, *argv, suite, root, "-"], stdin=sources.lines())
