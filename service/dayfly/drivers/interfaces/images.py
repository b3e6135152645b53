"""Images on the engine, and their creation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dayfly.drivers.interfaces.container_engine import ExecResult

ReadLogin = Callable[[str, Path], Awaitable[Mapping[str, str] | None]]
"""Registry, file of `docker login` → the login stored there, with `username` and `password`; None where there is none.

Raises RegistryRefused when the login cannot be read."""


@dataclass(frozen=True)
class ImageInfo:
    """An image on the engine. `id` is its content id; size in bytes."""

    id: str
    references: tuple[str, ...]
    labels: Mapping[str, str]
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True)
class TransferProgress:
    """The progress of one layer of a push or pull (0 bytes: not known)."""

    layer: str
    status: str
    current_bytes: int = 0
    total_bytes: int = 0


class ImageStore(Protocol):
    """The images on the engine."""

    async def inspect(self, reference: str) -> ImageInfo:
        """By reference or id. Raises ImageMissing."""

    async def list(self, *, label: str) -> tuple[ImageInfo, ...]:
        """All images that carry `label`."""

    def push(self, reference: str) -> AsyncIterator[TransferProgress]: ...

    def pull(self, reference: str) -> AsyncIterator[TransferProgress]: ...

    async def tag(self, image: str, reference: str) -> None: ...

    async def remove(self, reference: str) -> None:
        """Untag, and delete the image when no other tag names it. No error when it does not exist."""

    async def run(
        self, image: str, argv: Sequence[str], *, devices: Sequence[str] = (), timeout: float
    ) -> ExecResult | None:
        """Run `argv` in a container without privileges or network, and remove the container; None after `timeout`."""


class ImageBuilder(Protocol):
    """The engine calls of a bake beside ImageStore. A call leaves only the image that `reference` names.

    All raise BakeFailed, DiskFull or EngineUnavailable. All stream, so that memory stays small.
    """

    async def import_rootfs(self, tar: Path, reference: str, *, changes: Sequence[str] = ()) -> str:
        """Create an image of one layer from the root file system in `tar` (plain, gzip, bzip2, xz); its content id.

        `changes` are Dockerfile instructions (`CMD`, `ENTRYPOINT`, `ENV`, `LABEL`, …).
        """

    async def add_files(self, base: str, folder: Path, reference: str, *, labels: Mapping[str, str]) -> str:
        """Create an image of `base`, which has a command, with the content of `folder` at its root; its content id.

        The image has the labels of `base`, too. One call at a time for a `reference`. Raises ImageMissing for `base`.
        """

    async def read_files(self, image: str, path: str, folder: Path, *, reader: str) -> None:
        """Copy the folder `path` of `image`, which has a command, into `folder`; owners and modes are this process's.

        One call at a time for a `reader`. Raises ImageMissing, EngineRefused where the image has no such path.
        """
