"""What is inside a node image, for its readers: a label beside the manifest, so that no cluster's record has it.

Not here: the manifest (domain/image.py), which is what clusters need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.domain.cluster.naming import LABEL_CONTENTS
from dayfly.domain.image import ImageContents
from dayfly.drivers.interfaces import ImageBuilder

_STATUS: Final = Path("var/lib/dpkg/status")
_FIELD: Final = re.compile(r"^(Package|Status|Version): (.*)$", re.MULTILINE)


def installed_packages(rootfs: Path) -> dict[str, str] | None:
    """Package → version, of a root file system with dpkg; None: it has none."""
    try:
        status = (rootfs / _STATUS).read_text(errors="replace")
    except FileNotFoundError:
        return None
    found = {}
    for stanza in re.split(r"\n\s*\n", status):
        fields = dict(_FIELD.findall(stanza))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields["Version"]
    return dict(sorted(found.items()))


def read_packages(file: Path) -> dict[str, str] | None:
    """Of a layer that an older release cached: None."""
    try:
        found: dict[str, str] | None = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return found


@dataclass(frozen=True)
class LabellingBuilder:
    """Adds the label with `contents` to the images that `builder` makes of files."""

    builder: ImageBuilder
    contents: ImageContents

    async def import_rootfs(self, tar: Path, reference: str, *, changes: Sequence[str] = ()) -> str:
        return await self.builder.import_rootfs(tar, reference, changes=changes)

    async def add_files(self, base: str, folder: Path, reference: str, *, labels: Mapping[str, str]) -> str:
        own = {**labels, LABEL_CONTENTS: self.contents.model_dump_json()}
        return await self.builder.add_files(base, folder, reference, labels=own)

    async def read_files(self, image: str, path: str, folder: Path, *, reader: str) -> None:
        await self.builder.read_files(image, path, folder, reader=reader)
