"""The work of a layer's own phase: the disk below → a root file system → its changes → the disk that the layer adds.

Everything starts from the image below, not from the results of its bake: each bake of a recipe gives another disk, and
that of the layer is over the very disk that the image has.
Not here: the phases around it (bake.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from dayfly.drivers.interfaces import ImageBuilder
from dayfly.images.apt_sources import Mirrors
from dayfly.images.contents import installed_packages
from dayfly.images.layer_disk import extract, make_layer_disk
from dayfly.images.layer_rootfs import make_layer_rootfs
from dayfly.images.plan import BakePlan
from dayfly.images.rootfs import OnLine

LAYER_DISK: Final = "layer.qcow2"
"""The result, in the phase's folder."""
PACKAGES: Final = "packages.json"
"""The packages of the layer's root file system, beside it."""


async def make_layer(
    plan: BakePlan,
    below: str,
    disk: str,
    folder: Path,
    builder: ImageBuilder,
    artifacts: Mapping[str, Path],
    *,
    mirrors: Mirrors | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Make `folder`/LAYER_DISK. `below`: the id of the image below; `disk`: the path of its disk in the image.

    Raises BakeFailed, DiskFull, EngineUnavailable.
    """
    names = ("below", "extracted", "node", "changed")
    image, extracted, node, changed = (folder / name for name in names)
    for one in (image, extracted, node, changed):
        one.mkdir()
    place = PurePosixPath(disk)
    await builder.read_files(below, str(place.parent), image, reader=plan.recipe.name)
    here = image / place.parent.name / place.name
    before = await extract(here, extracted, on_line=on_line)
    rootfs = await make_layer_rootfs(
        plan.recipe,
        before,
        node,
        suite=plan.base.suite,
        root=plan.root,
        artifacts=artifacts,
        mirrors=mirrors,
        on_line=on_line,
    )
    await make_layer_disk(here, extracted, rootfs, folder / LAYER_DISK, work=changed)
    (folder / PACKAGES).write_text(json.dumps(installed_packages(rootfs)))
    for one in (image, extracted, node, changed):
        shutil.rmtree(one)
