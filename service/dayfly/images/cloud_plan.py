"""The keys of a bake on a cloud image, and which recipes can have one. Pure but for reading provisioning/.

A base that is pinned by its checksum has all keys before anything is fetched. Where upstream replaces the image at one
address, only the phases' keys have its checksum (phase_keys): the image's own key stays, so that a bake of today's
image is ordered by removing yesterday's. Not here: other bakes' keys (plan.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from dayfly.errors import InvalidRequest
from dayfly.images.cloud_base import CloudBase
from dayfly.images.fingerprint import fingerprint
from dayfly.images.recipe import Recipe, RootFileSystem

FIRMWARE_PACKAGE: Final = "ovmf"
FIRMWARE_FILES: Final = {"firmware.fd": "OVMF_CODE_4M.fd", "variables.fd": "OVMF_VARS_4M.fd"}
"""Name in an image → the package's file."""
_PACKAGE_NAMES: Final = "cloud/packages.yaml"
_SCRIPTS: Final = ("cloud/start", "cloud/node", "cloud/clean", "cloud/files", "cloud/vars.yaml")
_PACKAGES: Final = (
    *("cloud/before.yaml", "cloud/after.yaml", _PACKAGE_NAMES),
    *("ansible/roles/bake_addresses", "ansible/roles/cloud_packages"),
)
_CODE: Final = Path(__file__).parent
_INSPECT_CODE: Final = ("cloud/inspect.py", "cloud/disk_image.py", "cloud/files.py")
_NODE_CODE: Final = ("cloud/provision.py", "cloud/play.py", "cloud/machine.py", "cloud/seed.py", "cloud/disk.py")


@dataclass(frozen=True)
class CloudKeys:
    """The keys of the plan's phases. `image`: of the node image, as that of every plan."""

    base: str
    firmware: str
    machine: str
    node: str
    image: str


def check_recipe(recipe: Recipe, base: CloudBase, root: Path) -> None:
    """Refuse a recipe that cannot be baked on a cloud image. Raises InvalidRequest."""
    problem = ""
    if recipe.artifacts:
        problem = "its artifacts are built in a root file system of the base, and a cloud image has none"
    elif recipe.finish:
        problem = "its scripts (finish) run in a root file system, and a cloud image has none"
    elif recipe.kernel_arguments and base.boot != "direct":
        problem = f"its kernel arguments have no effect on nodes with their own boot loader (boot: {base.boot})"
    elif base.family == "zypper":
        problem = "the roles know the families apt and dnf, not zypper"
    if problem:
        raise InvalidRequest(f"recipe {recipe.name} cannot be baked on the cloud image {recipe.base}: {problem}")
    packages_of(recipe, base, root)


def packages_of(recipe: Recipe, base: CloudBase, root: Path) -> tuple[str, ...]:
    """The packages of a node, by the names that they have in the base's family. Raises InvalidRequest."""
    known = yaml.safe_load((root / _PACKAGE_NAMES).read_text())
    names: Mapping[str, str] | None = known["names"].get(base.family)
    found = list(known["needed"][base.family])
    for package in recipe.packages:
        if names is None:
            found.append(package)
        elif package not in names:
            raise InvalidRequest(
                f"recipe {recipe.name}: cloud/packages.yaml has no name of the package {package} for {base.family}"
            )
        else:
            found.append(names[package])
    return tuple(sorted({name for name in found if name}))


def cloud_keys(
    recipe: Recipe, base: CloudBase, toolbox: RootFileSystem, toolbox_key: str, root: Path, *, play: tuple[str, ...]
) -> CloudKeys:
    """`toolbox_key`: of the toolbox's phase; `play`: the files of the recipe's play. Raises FileNotFoundError."""
    source = base.checksum or base.signed_checksums
    base_key = _key(root, source, base.file_name, base.boot, code=_INSPECT_CODE)
    firmware_key = _key(root, toolbox.suite, FIRMWARE_PACKAGE, FIRMWARE_FILES, code=("rootfs.py",))
    # Whether UEFI's program is in it follows from the image.
    machine_key = _key(root, toolbox_key, base_key, firmware_key, code=("cloud/disk.py",))
    node_key = _key(
        root,
        base_key,
        (base.family, recipe.packages, recipe.vars, recipe.disk_gib),
        recipe.control_plane,
        files=(*play, *_SCRIPTS, *_PACKAGES),
        code=_NODE_CODE,
    )
    image_key = _key(root, machine_key, node_key, recipe.manifest(base, ""), code=())
    return CloudKeys(base_key, firmware_key, machine_key, node_key, image_key)


def phase_keys(keys: CloudKeys, image_name: str) -> CloudKeys:
    """The keys of the phases on the image in the file `image_name`, which has the image's checksum in its name."""

    def of(key: str) -> str:
        return hashlib.sha256(f"{key} {image_name}".encode()).hexdigest()

    return CloudKeys(of(keys.base), keys.firmware, of(keys.machine), of(keys.node), keys.image)


def _key(root: Path, *values: object, files: tuple[str, ...] = (), code: tuple[str, ...]) -> str:
    return fingerprint(root, fingerprint(_CODE, files=code), *values, files=files)
