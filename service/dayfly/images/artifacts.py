"""Artifacts: what a recipe has built on the way, each in a root file system of its own. Not here: what is built."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from dayfly.images.apt_sources import Mirrors
from dayfly.images.process import SANDBOX, run
from dayfly.images.recipe import Artifact, RootFileSystem
from dayfly.images.rootfs import OnLine, make_rootfs


async def make_artifact(
    suite: str,
    artifact: Artifact,
    target: Path,
    *,
    root: Path,
    needs: Mapping[str, Path],
    mirrors: Mirrors | None = None,
    on_line: OnLine | None = None,
) -> None:
    """Fill `target`/out with what `artifact`'s script makes; `needs` are the results it builds upon.

    Raises BakeFailed, DiskFull.
    """
    build, out = target / "rootfs", target / "out"
    out.mkdir()
    packages = tuple(sorted({*artifact.packages, "ca-certificates"}))
    what = RootFileSystem(suite=suite, packages=packages)
    await make_rootfs(what, build, building=True, mirrors=mirrors, on_line=on_line)
    (build / "build").mkdir()
    copy_inputs(root, (artifact.script, *artifact.inputs), build / "inputs")
    argv: list[str | Path] = [*SANDBOX, root / "base" / "enter", build, "--bind", out, "/out"]
    for name, path in needs.items():
        argv += ["--bind", path, f"/artifacts/{name}"]
    argv += ["--", "env", "-C", "/build", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
    argv += [f"{name}={value}" for name, value in artifact.environment.items()]
    argv += ["OUT=/out", "INPUTS=/inputs", "ARTIFACTS=/artifacts", f"/inputs/{artifact.script}"]
    await run(argv, name=artifact.script, on_line=on_line)
    shutil.rmtree(build)


def copy_inputs(root: Path, paths: Iterable[str], target: Path) -> None:
    """Copy files and folders below `root` to `target`, under the same paths."""
    target.mkdir(exist_ok=True)
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        if (root / path).is_dir():
            shutil.copytree(root / path, target / path, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(root / path, target / path)
