"""ImageStore and ImageBuilder in memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dayfly.clock import SystemClock
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.drivers.interfaces import ExecResult, ImageInfo, TransferProgress
from dayfly.errors import ImageMissing
from dayfly.testing.fake_faults import Faults


class FakeImages(Faults):
    """The images of an engine, and a registry that pulls come from and pushes go to."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, ImageInfo] = {}
        """Content id → image."""
        self.registry: dict[str, ImageInfo] = {}
        """Reference → image."""
        self.run_result: ExecResult | None = ExecResult(0, b"Linux version 6.1.0\n", b"")
        """What `run` gives; None: it overran."""
        self.runs: list[tuple[str, ...]] = []
        self.files: dict[str, dict[str, bytes]] = {}
        """Content id → the files that `add_files` put there, by path; of the images below, too."""

    def add(self, reference: str, labels: Mapping[str, str] | None = None) -> ImageInfo:
        """An image that is there, called `reference`."""
        named = "\n".join([reference, *(f"{key}={value}" for key, value in sorted((labels or {}).items()))])
        image_id = f"sha256:{hashlib.sha256(named.encode()).hexdigest()}"
        made = ImageInfo(image_id, (), dict(labels or {}), 1 << 20, SystemClock().now())
        self.stored.setdefault(image_id, made)
        return self._name(image_id, reference)

    def add_node_image(self, reference: str, manifest: str) -> ImageInfo:
        """A node image with `manifest`, JSON, as its label."""
        return self.add(reference, {LABEL_IMAGE: manifest})

    async def inspect(self, reference: str) -> ImageInfo:
        await self._enter("inspect")
        return self._get(reference)

    async def list(self, *, label: str) -> tuple[ImageInfo, ...]:
        await self._enter("list")
        return tuple(image for image in self.stored.values() if label in image.labels)

    async def push(self, reference: str) -> AsyncIterator[TransferProgress]:
        await self._enter("push")
        image = self._get(reference)
        yield TransferProgress(image.id[7:19], "Pushing", image.size_bytes // 2, image.size_bytes)
        self.registry[reference] = image
        yield TransferProgress(image.id[7:19], "Pushed", image.size_bytes, image.size_bytes)

    async def pull(self, reference: str) -> AsyncIterator[TransferProgress]:
        await self._enter("pull")
        if (image := self.registry.get(reference)) is None:
            raise ImageMissing(f"pulling {reference}: manifest unknown")
        yield TransferProgress(image.id[7:19], "Downloading", image.size_bytes, image.size_bytes)
        self.stored.setdefault(image.id, replace(image, references=()))
        self._name(image.id, reference)

    async def tag(self, image: str, reference: str) -> None:
        await self._enter("tag")
        self._name(self._get(image).id, reference)

    async def remove(self, reference: str) -> None:
        await self._enter("remove")
        try:
            found = self._get(reference)
        except ImageMissing:
            return
        left = tuple(name for name in found.references if name != reference)
        if left and reference != found.id:
            self.stored[found.id] = replace(found, references=left)
        else:
            del self.stored[found.id]

    async def run(
        self,
        image: str,
        argv: Sequence[str],
        *,
        devices: Sequence[str] = (),
        timeout: float,
    ) -> ExecResult | None:
        await self._enter("run")
        self._get(image)
        self.runs.append(tuple(argv))
        return self.run_result

    async def import_rootfs(self, tar: Path, reference: str, *, changes: Sequence[str] = ()) -> str:
        await self._enter("import_rootfs")
        return self.add(reference, {"tar": tar.name, "changes": "\n".join(changes)}).id

    async def add_files(self, base: str, folder: Path, reference: str, *, labels: Mapping[str, str]) -> str:
        await self._enter("add_files")
        below = self._get(base).id
        made = self.add(reference, {"folder": folder.name, **labels}).id
        self.files[made] = self.files.get(below, {}) | _content(folder)
        return made

    async def read_files(self, image: str, path: str, folder: Path, *, reader: str) -> None:
        await self._enter("read_files")
        for name, content in self.files.get(self._get(image).id, {}).items():
            if name.startswith(f"{path}/"):
                target = folder / Path(path).name / name.removeprefix(f"{path}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)

    async def close(self) -> None:
        await self._enter("close")

    def _get(self, reference: str) -> ImageInfo:
        for image in self.stored.values():
            if reference == image.id or reference in image.references:
                return image
        raise ImageMissing(f"image {reference}: No such image: {reference}")

    def _name(self, image_id: str, reference: str) -> ImageInfo:
        for other in list(self.stored.values()):
            if reference in other.references and other.id != image_id:
                left = tuple(name for name in other.references if name != reference)
                self.stored[other.id] = replace(other, references=left)
        image = self.stored[image_id]
        names = image.references if reference in image.references else (*image.references, reference)
        self.stored[image_id] = replace(image, references=names)
        return self.stored[image_id]


def _content(folder: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
