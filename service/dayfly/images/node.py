"""A node's root file system: a copy of the base, the recipe's Ansible play, its finishing scripts.

Not here: what they do.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from dayfly.images.artifacts import copy_inputs
from dayfly.images.process import OFFLINE, SANDBOX, run
from dayfly.images.recipe import Recipe
from dayfly.images.rootfs import OnLine


async def make_node(
    recipe: Recipe,
    target: Path,
    *,
    root: Path,
    base: Path,
    artifacts: Mapping[str, Path],
    on_line: OnLine | None = None,
) -> None:
    """Make `target`/rootfs of the root file system `base`. Raises BakeFailed, DiskFull."""
    node, work = target / "rootfs", target / "work"
    await run(["cp", "-a", "--reflink=auto", base, node])
    work.mkdir()
    await _play(recipe, node, work, root, artifacts, on_line)
    for script in recipe.finish:
        await _finish(recipe, script, node, root, artifacts, on_line)
    _clean(node)
    shutil.rmtree(work)


async def _play(
    recipe: Recipe, node: Path, work: Path, root: Path, artifacts: Mapping[str, Path], on_line: OnLine | None
) -> None:
    extra = {
        **recipe.vars,
        "recipe_name": recipe.name,
        "artifacts": {name: str(path) for name, path in artifacts.items()},
    }
    inventory = work / "inventory.json"
    hosts = {"node": {"ansible_host": str(node), "ansible_connection": "rootfs"}}
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    # The play as a whole runs in the sandbox, so that a task that starts something cannot leave it behind.
    mounted = '"$0" "$1"; shift; exec "$@"'
    argv: list[str | Path] = [*SANDBOX, "sh", "-ec", mounted, root / "base" / "mount", node]
    argv += [sys.executable, "-m", "ansible", "playbook", "--inventory", inventory]
    argv += ["--extra-vars", json.dumps(extra), root / recipe.playbook]
    await run(
        argv,
        name="ansible-playbook",
        environment={
            "ANSIBLE_CONFIG": str(root / "ansible" / "ansible.cfg"),
            "ANSIBLE_HOME": str(work),
            "ANSIBLE_LOCAL_TEMP": str(work / "tmp"),
            "ANSIBLE_REMOTE_TEMP": "/tmp/.ansible",  # noqa: S108 - a path inside the root file system
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        folder=work,
        on_line=on_line,
    )


async def _finish(
    recipe: Recipe, script: str, node: Path, root: Path, artifacts: Mapping[str, Path], on_line: OnLine | None
) -> None:
    inputs = node / "inputs"
    copy_inputs(root, (script, *recipe.finish_inputs), inputs)
    argv: list[str | Path] = [*OFFLINE, root / "base" / "enter", node, "--offline"]
    for name, path in artifacts.items():
        argv += ["--bind", path, f"/artifacts/{name}"]
    argv += ["--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"]
    argv += ["INPUTS=/inputs", "ARTIFACTS=/artifacts", f"/inputs/{script}"]
    await run(argv, name=script, on_line=on_line)
    shutil.rmtree(inputs)


def _clean(node: Path) -> None:
    """Take out what the work left: temporary files, the empty folders that artifacts were mounted on."""
    for folder in (node / "tmp", node / "var" / "tmp", node / "root" / ".ansible"):
        for child in folder.iterdir() if folder.is_dir() else ():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    shutil.rmtree(node / "artifacts", ignore_errors=True)
    shutil.rmtree(node / "root" / ".ansible", ignore_errors=True)
