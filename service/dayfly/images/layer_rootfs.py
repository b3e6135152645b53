"""A layer's root file system: that of the image below, packages, the recipe's Ansible play, its finishing scripts.

Not here: the disk that it came from and goes to (layer_disk.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from dayfly.errors import BakeFailed
from dayfly.images.apt_sources import Mirrors
from dayfly.images.layer_packages import install_packages
from dayfly.images.node import make_node
from dayfly.images.process import run
from dayfly.images.recipe import Recipe
from dayfly.images.rootfs import OnLine


async def make_layer_rootfs(
    recipe: Recipe,
    below: Path,
    target: Path,
    *,
    suite: str,
    root: Path,
    artifacts: Mapping[str, Path],
    mirrors: Mirrors | None = None,
    on_line: OnLine | None = None,
) -> Path:
    """Make `target`/rootfs of the root file system `below`, which stays as it is; its path.

    Raises BakeFailed, DiskFull.
    """
    layer = recipe.layer
    assert layer is not None  # noqa: S101 - the plan's recipe has one
    start = below
    if recipe.packages:
        start = target / "packages"
        await run(["cp", "-a", "--reflink=auto", below, start])
        await install_packages(
            recipe.packages, start, suite=suite, work=target, root=root, mirrors=mirrors, on_line=on_line
        )
    extended = recipe.model_copy(update={"vars": {**recipe.vars, "layer_kernel_modules": list(layer.kernel_modules)}})
    await make_node(extended, target, root=root, base=start, artifacts=artifacts, on_line=on_line)
    if start != below:
        shutil.rmtree(start)
    _check_kernel(below, target / "rootfs")
    return target / "rootfs"


def _check_kernel(below: Path, rootfs: Path) -> None:
    """Raises BakeFailed where the layer has another kernel: the machines boot that of the image below."""
    had, has = (
        {path.name: path.stat().st_size for path in (tree / "boot").glob("vmlinuz-*")} for tree in (below, rootfs)
    )
    if had != has:
        raise BakeFailed("the layer's packages bring another kernel than the image below: bake that image anew first")
