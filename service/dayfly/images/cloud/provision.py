"""What a bake does in the booted guest of a cloud image, over SSH: the play, the parts of a node, the cleaning.

Not here: the machine (machine.py), Ansible's command (play.py), and the scripts (provisioning/cloud/).
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dayfly.drivers.interfaces import File
from dayfly.errors import CloudInitFailed
from dayfly.images.cloud.machine import FIRST_BOOTS, BakeMachine
from dayfly.images.cloud.play import run_plays
from dayfly.images.cloud_base import CloudBase
from dayfly.images.cloud_plan import packages_of
from dayfly.images.recipe import Recipe
from dayfly.images.rootfs import OnLine

FOLDER: Final = "cloud"
"""Of provisioning/: the scripts, the plays around the recipe's, and the files of a node."""
_PROGRAMS: Final = ("growpart", "perl", "qemu-ga")
"""Those of the packages that every node needs (packages.yaml)."""
_CLOUD_INIT: Final = "cloud-init status --wait --long"
_RECOVERED: Final = 2
"""cloud-init's exit code where all has been done, with warnings."""


@dataclass(frozen=True)
class Play:
    """The recipe with its play's variables, and its base. `mirrored`: the bake brings its own sources of packages."""

    recipe: Recipe
    base: CloudBase
    root: Path
    mirrored: bool


async def provision(machine: BakeMachine, play: Play, on_line: OnLine) -> None:
    """Make the guest a node, clean it, and leave it switched off.

    Raises CloudInitFailed, BakeFailed, SshTimeout, SshRefused, VmExited, DiskFull.
    """
    folder = play.root / FOLDER
    on_line("waiting for SSH")
    await machine.wait_for_ssh()
    on_line("waiting for cloud-init")
    await _wait_for_cloud_init(machine)
    await machine.put(node_files(folder / "files"))
    await _script(machine, folder / "start", "mirrored" if play.mirrored else "")
    await _play(machine, play, on_line)
    await _script(machine, folder / "node")
    on_line("cleaning")
    await _script(machine, folder / "clean", on_line=on_line, slow=True)
    await machine.power_off()


def node_files(folder: Path) -> tuple[File, ...]:
    """The files below `folder`, for the root of the guest."""
    return tuple(
        File(f"/{path.relative_to(folder)}", path.read_bytes(), _mode(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


async def _wait_for_cloud_init(machine: BakeMachine) -> None:
    result = await machine.run(_CLOUD_INIT, timeout=FIRST_BOOTS * machine.limits.boot)
    if result.exit_code not in {0, _RECOVERED}:
        log = await machine.run("tail -n 60 /var/log/cloud-init.log")
        raise CloudInitFailed(
            f"cloud-init failed in the first boot of the image: exit code {result.exit_code}",
            evidence={"status": f"{result.stdout}{result.stderr}", "cloud_init": log.stdout},
        )


async def _script(
    machine: BakeMachine, path: Path, argument: str = "", *, on_line: OnLine | None = None, slow: bool = False
) -> None:
    """Run a script of provisioning/cloud/ in the guest, on its whole root. `slow`: it may take as long as a boot."""
    command = shlex.join(["sh", "-s", "--", "/", *([argument] if argument else [])])
    limit = machine.limits.boot if slow else None
    name = f"{FOLDER}/{path.name}"
    text = await asyncio.to_thread(path.read_bytes)
    await machine.require(name, command, stdin=text, timeout=limit, on_line=on_line)


async def _play(machine: BakeMachine, play: Play, on_line: OnLine) -> None:
    """Ansible starts slowly in an emulated guest: what is there is not installed again."""
    recipe, folder = play.recipe, play.root / FOLDER
    variables: dict[str, Any] = {**recipe.vars, "recipe_name": recipe.name, "artifacts": {}}
    plays = [play.root / recipe.playbook]
    if recipe.packages or not await _has_programs(machine):
        variables["cloud_packages"] = packages_of(recipe, play.base, play.root)
        plays = [folder / "before.yaml", *plays, folder / "after.yaml"]
    await machine.while_running(
        run_plays(machine.target, plays, variables, root=play.root, files=(folder / "vars.yaml",), on_line=on_line)
    )


async def _has_programs(machine: BakeMachine) -> bool:
    found = await machine.run(" && ".join(f"command -v {name}" for name in _PROGRAMS))
    return found.exit_code == 0


def _mode(path: Path) -> int:
    """Of a checkout, git keeps whether a file can be executed, and nothing else."""
    if path.suffix == ".nmconnection":
        return 0o600  # NetworkManager ignores others.
    return 0o755 if path.stat().st_mode & 0o111 else 0o644
