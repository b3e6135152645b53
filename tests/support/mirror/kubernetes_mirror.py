"""The mirror of all that a recipe for an upstream version of Kubernetes fetches: packages and images, over HTTP.

Not here: cloud images (cloud_image.py, cloud_files.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.mirror.file_server import FileServer, file_server
from tests.support.mirror.packages import minor_of
from tests.support.mirror.programs import kubernetes_packages
from tests.support.mirror.registry import Registry, kubernetes_registry
from tests.support.mirror.repository import Repository, write_repository
from tests.support.mirror.signing import signing_key


@dataclass(frozen=True)
class KubernetesMirror:
    """`version` of Kubernetes as v1.20.2. `server` serves the repository; its faults break the mirror."""

    version: str
    repository: Repository
    server: FileServer
    registry: Registry

    @property
    def packages(self) -> str:
        """The address in the place of https://pkgs.k8s.io/core:/stable: (below it is v1.20/deb/)."""
        return f"{self.server.url}/core:/stable:"

    @property
    def key(self) -> Path:
        """The file of the public key that clients trust."""
        return self.repository.folder / "Release.key"


@asynccontextmanager
async def kubernetes_mirror(
    folder: Path, *, host: str = "127.0.0.1", forged: bool = False
) -> AsyncIterator[KubernetesMirror]:
    """A mirror on `host`, an address of this machine; its repository is written to `folder`.

    `forged`: another key than the published one has signed the repository. Raises BakeFailed, DiskFull.
    """
    async with kubernetes_packages() as (kubernetes, packages), kubernetes_registry(host=host) as registry:
        with signing_key() as key, signing_key("forger") as forger:
            signer = forger if forged else key
            minor = minor_of(kubernetes.version)
            repository = await write_repository(packages, minor, folder, key, signer=signer)
        with file_server(folder, host=host) as server:
            yield KubernetesMirror(kubernetes.version, repository, server, registry)
