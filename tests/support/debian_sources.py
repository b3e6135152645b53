"""Files of Debian's source packages, from this machine's mirrors. Cached by suite, package and folders."""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dayfly.clock import SystemClock
from dayfly.images.apt import Sources, find_sources
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.process import run
from dayfly.settings import Settings
from tests.support.lab import REPO

_FOLDERS: Final = (
    *("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d"),
    *("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"),
)


async def debian_source(suite: str, package: str, folders: Sequence[str]) -> Path:
    """`folders` of upstream's own tree, as the source package `package` of `suite` has it before Debian's patches."""

    async def make(folder: Path) -> None:
        archive = await _fetch(await find_sources(suite), package, folder / "apt")
        await asyncio.to_thread(extract, archive, folder / "tree", folders)
        shutil.rmtree(folder / "apt")

    async with Cache(Settings().cache_dir, SystemClock()) as cache:
        key = fingerprint(REPO, suite, package, list(folders), files=["tests/support/debian_sources.py"])
        return await cache.get(f"test-{suite}-{package}-source", key, make) / "tree"


def extract(archive: Path, target: Path, folders: Sequence[str]) -> None:
    """Write the files of `folders` below `target`. The archive has one folder, which is left out."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, path = member.name.partition("/")
            if member.isfile() and any(path.startswith(f"{folder}/") for folder in folders):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                file = tar.extractfile(member)
                assert file is not None
                (target / path).write_bytes(file.read())
    missing = [folder for folder in folders if not (target / folder).is_dir()]
    assert missing == [], f"{archive.name} has no folders {missing}"


async def _fetch(sources: Sources, package: str, root: Path) -> Path:
    """Upstream's archive of the package, by an apt that has `sources` only."""
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(sources.lines(deb_src=True))
    own = (
        f'Dir "{root}/"',
        f'Dir::State::status "{root}/var/lib/dpkg/status"',
        # No other user may enter the cache, where these files are.
        'APT::Sandbox::User "root"',
    )
    configuration = root / "apt.conf"
    configuration.write_text("".join(f"{option};\n" for option in (*own, *sources.options)))
    environment = {"APT_CONFIG": str(configuration)}
    await run(["apt-get", "update", "--error-on=any", "--quiet"], environment=environment)
    downloads = root / "downloads"
    downloads.mkdir()
    argv: list[str | Path] = [
        "env",
        "-C",
        downloads,
        "apt-get",
        "source",
        "--quiet",
        "--download-only",
        "--only-source",
        package,
    ]
    await run(argv, environment=environment, name="apt-get source")
    (archive,) = downloads.glob("*.orig.tar.*")
    return archive
