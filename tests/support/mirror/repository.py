"""An apt repository with the paths of pkgs.k8s.io (core:/stable:/MINOR/deb/), signed when it is written.

Not here: packages (packages.py), and HTTP (file_server.py).
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dayfly.images.process import run
from tests.support.mirror.packages import ARCHITECTURE
from tests.support.mirror.signing import SigningKey


@dataclass(frozen=True)
class Repository:
    """A repository below `root`; a server of `root` has it at `path`."""

    root: Path
    path: str

    @property
    def folder(self) -> Path:
        return self.root / self.path

    def source(self, server: str, keyring: Path) -> str:
        """The line of apt's sources; `server` is the address of `root`."""
        return f"deb [signed-by={keyring}] {server}/{self.path}/ /\n"

    def packages(self) -> tuple[str, ...]:
        """The paths of the packages below `path`."""
        return tuple(sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.deb")))


async def write_repository(
    packages: Iterable[Path], minor: str, root: Path, key: SigningKey, *, signer: SigningKey | None = None
) -> Repository:
    """Write a repository of `packages` for the Kubernetes version `minor` (v1.20) below `root`.

    Its Release.key is `key`; `signer` is the key of a forger. Raises BakeFailed, DiskFull.
    """
    made = Repository(root, f"core:/stable:/{minor}/deb")
    pool = made.folder / ARCHITECTURE
    pool.mkdir(parents=True)
    for package in packages:
        shutil.copyfile(package, pool / package.name)
    index = (await run(["apt-ftparchive", "packages", ARCHITECTURE], folder=made.folder)).encode() + b"\n"
    (made.folder / "Packages").write_bytes(index)
    (made.folder / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
    await sign_again(made, signer or key)
    (made.folder / "Release.key").write_bytes(key.public)
    return made


async def sign_again(repository: Repository, signer: SigningKey) -> None:
    """Write Release with the checksums of the indices as they are, and its signatures."""
    folder = repository.folder
    for name in ("Release", "Release.gpg", "InRelease"):
        (folder / name).unlink(missing_ok=True)
    fields = {"Origin": "dayfly-test", "Label": "dayfly-test", "Architectures": ARCHITECTURE}
    described = [word for name, value in fields.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    release = (await run(["apt-ftparchive", *described, "release", folder])).encode() + b"\n"
    (folder / "Release").write_bytes(release)
    (folder / "Release.gpg").write_bytes(signer.sign_apart(release))
    (folder / "InRelease").write_bytes(signer.sign_in_line(release))
