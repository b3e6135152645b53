"""The size of the engine's host: CPUs, memory and disk. Not here: what each cluster gets (admission.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.scheduling.resources import CapacityRules, Resources
from dayfly.drivers.interfaces import ContainerEngine, ExecResult, ImageInfo, ImageStore
from dayfly.errors import EngineRefused, ImageMissing

_DF: Final = ("df", "--block-size=1G", "--output=size", "/")
_DISK_SECONDS: Final = 30.0
_LAST_NUMBER: Final = re.compile(rb"\b([0-9]{1,12})\s*\Z")


class EngineHost:
    """The host's resources in all, and those offered to clusters."""

    def __init__(self, engine: ContainerEngine, images: ImageStore, rules: CapacityRules) -> None:
        self._engine, self._images, self.rules = engine, images, rules
        self._known: Resources | None = None

    async def capacity(self) -> Resources:
        """Logical CPUs, memory and disk in all; cached, because requests wait for it. Raises EngineUnavailable."""
        if self._known is None:
            info = await self._engine.info()
            self._known = Resources(info.cpus, info.memory_bytes // 2**20, await self._disk_gib())
        return self._known

    async def offered(self) -> Resources:
        return self.rules.offered(await self.capacity())

    async def _disk_gib(self) -> int:
        """The size of the file system that containers write to, as a container sees it: the engine may be elsewhere."""
        images = await self._images.list(label=LABEL_IMAGE)
        if not images:
            raise ImageMissing("no node image exists: bake one with `dayfly image bake`")
        ended = await self._run_df(images)
        found = None if ended is None or ended.exit_code != 0 else _LAST_NUMBER.search(ended.stdout)
        if found is None:
            raise EngineRefused("the size of the engine's disk is unknown: `df` failed in a container")
        return int(found[1])

    async def _run_df(self, images: Sequence[ImageInfo]) -> ExecResult | None:
        """Of the first image that can run it: another may lack the program, or be removed in between."""
        for image in images[:-1]:
            with suppress(EngineRefused, ImageMissing):
                return await self._images.run(image.id, _DF, timeout=_DISK_SECONDS)
        return await self._images.run(images[-1].id, _DF, timeout=_DISK_SECONDS)
