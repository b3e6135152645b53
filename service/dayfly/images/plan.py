"""The plan of a bake: the key of every phase, computed from the phase's inputs. Pure but for reading provisioning/.

A key changes when, and only when, the phase's result may change: recipe parts, scripts, roles, the code that runs them,
the keys of the phases before it. Mirrors are never part of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import yaml

from dayfly.domain.addon import Addon
from dayfly.errors import InvalidRequest
from dayfly.images.cloud_base import CloudBase
from dayfly.images.cloud_plan import CloudKeys, check_recipe, cloud_keys
from dayfly.images.fingerprint import fingerprint
from dayfly.images.layer_objects import layer_addons
from dayfly.images.layer_recipe import BaseImage, Layer
from dayfly.images.recipe import Artifact, Base, Recipe, RootFileSystem, load_any_base, load_recipe, load_toolbox

_CODE: Final = Path(__file__).parent
_ENTER: Final = ("base/enter", "base/mount")


@dataclass(frozen=True)
class Keys:
    """The content key of every phase; `image` covers all of them.

    Of a layer: `base` is that of the image below, `disk` that of the difference, and there is no toolbox.
    """

    toolbox: str
    base: str
    artifacts: Mapping[str, str]
    node: str
    disk: str
    image: str


@dataclass(frozen=True)
class CloudPart:
    """Of a plan on a cloud image: its base and the keys of its phases."""

    base: CloudBase
    keys: CloudKeys


@dataclass(frozen=True)
class BakePlan:
    """A recipe, its base and toolbox, and the keys of its phases. `root` is provisioning/.

    Of a layer: `below` is the plan of the recipe that it is from, if it is from one; `addons` are what it adds.
    `state`: of a rebuild, the fingerprint of what its sources had; `inputs`: the key of the image without that.
    On a cloud image: `cloud` has the base and the keys of its phases; `base` and the phases of `keys` are empty.
    """

    root: Path
    recipe: Recipe
    base: Base
    toolbox: RootFileSystem
    keys: Keys
    below: BakePlan | None = None
    addons: tuple[Addon, ...] = ()
    state: str = ""
    inputs: str = ""
    cloud: CloudPart | None = None


def make_plan(recipe: str | Recipe, root: Path, *, state: str = "") -> BakePlan:
    """The plan for a recipe, or for the recipe of that name.

    `state`: part of all keys but the toolbox's: a rebuild with another one takes nothing that was fetched before.
    Raises NotFound and InvalidRequest; the latter for a missing file, too.
    """
    if isinstance(recipe, str):
        recipe = load_recipe(recipe, root)
    base = load_any_base(recipe.base, root)
    toolbox = load_toolbox(root)
    layer = recipe.layer
    if isinstance(base, CloudBase):
        if state:
            raise InvalidRequest(f"recipe {recipe.name} is of a cloud image, which has no rebuilds")
        return _cloud_plan(recipe, base, toolbox, root)
    below = make_plan(layer.below, root) if layer is not None and isinstance(layer.below, str) else None
    try:
        addons = () if layer is None else layer_addons(recipe.name, layer, root)
        if layer is None:
            keys = inputs = _keys(recipe, base, toolbox, root)
            if state:
                keys = _keys(recipe, base, toolbox, root, state)
        elif state:
            raise InvalidRequest(f"recipe {recipe.name} is a layer, which has no rebuilds: rebuild what it is from")
        else:
            keys = inputs = _layer_keys(recipe, base, layer, addons, below, root)
    except FileNotFoundError as error:
        raise InvalidRequest(f"recipe {recipe.name} names {error.filename}, which does not exist") from error
    return BakePlan(root, recipe, base, toolbox, keys, below, addons, state, inputs.image)


def _cloud_plan(recipe: Recipe, base: CloudBase, toolbox: RootFileSystem, root: Path) -> BakePlan:
    if recipe.layer is not None:
        raise InvalidRequest(
            f"recipe {recipe.name}: the image below is of the cloud image {recipe.base}, and a disk with partitions "
            "cannot have layers"
        )
    check_recipe(recipe, base, root)
    toolbox_key = _toolbox_key(toolbox, root)
    try:
        play = (recipe.playbook, *_roles(recipe, root), "ansible/ansible.cfg")
        keys = cloud_keys(recipe, base, toolbox, toolbox_key, root, play=play)
    except FileNotFoundError as error:
        raise InvalidRequest(f"recipe {recipe.name} names {error.filename}, which does not exist") from error
    without = Base(suite="", kernel="", kernel_arguments=base.kernel_arguments)
    all_keys = Keys(toolbox_key, keys.base, {}, keys.node, keys.node, keys.image)
    return BakePlan(root, recipe, without, toolbox, all_keys, inputs=keys.image, cloud=CloudPart(base, keys))


def _toolbox_key(toolbox: RootFileSystem, root: Path) -> str:
    return _key(root, toolbox, files=("toolbox",), code=("rootfs.py",))


def _keys(recipe: Recipe, base: Base, toolbox: RootFileSystem, root: Path, state: str = "") -> Keys:
    toolbox_key = _toolbox_key(toolbox, root)
    base_key = _key(root, base, recipe.packages, files=("base/trim",), code=("rootfs.py",))
    artifacts = _artifacts(recipe, base, root)
    if state:
        base_key = fingerprint(root, base_key, state)
        artifacts = {name: fingerprint(root, key, state) for name, key in artifacts.items()}
    node_key = _key(
        root,
        base_key,
        artifacts,
        recipe.vars,
        recipe.finish,
        files=_node_files(recipe, root),
        code=("node.py", "rootfs.py"),
    )
    disk_key = _key(root, node_key, recipe.disk_gib, files=("base/initrd",), code=("disk.py",))
    image_key = _key(root, disk_key, toolbox_key, recipe.manifest(base, ""), code=("container.py",))
    return Keys(toolbox_key, base_key, artifacts, node_key, disk_key, image_key)


def _layer_keys(
    recipe: Recipe, base: Base, layer: Layer, addons: tuple[Addon, ...], below: BakePlan | None, root: Path
) -> Keys:
    if isinstance(layer.below, BaseImage):
        below_key = fingerprint(root, layer.below)
    else:
        assert below is not None  # noqa: S101 - make_plan has made it
        below_key = below.keys.image
    artifacts = _artifacts(recipe, base, root)
    node_key = _key(
        root,
        (below_key, base.suite, recipe.packages, artifacts, recipe.vars, recipe.finish, layer.kernel_modules),
        files=_node_files(recipe, root),
        code=("node.py", "layer_rootfs.py", "layer_packages.py"),
    )
    disk_key = _key(root, node_key, code=("layer_disk.py", "tree_changes.py", "block_changes.py"))
    sizes = (recipe.control_plane, recipe.worker, recipe.minimum)
    added = (recipe.kernel_arguments, recipe.verify, layer.ready_paths, *addons)
    image_key = _key(root, disk_key, *sizes, *added, code=("layer_image.py",))
    return Keys("", below_key, artifacts, node_key, disk_key, image_key)


def _artifacts(recipe: Recipe, base: Base, root: Path) -> dict[str, str]:
    try:
        return artifact_keys(base.suite, recipe.artifacts, root)
    except CycleError as error:
        raise InvalidRequest(f"recipe {recipe.name}: its artifacts need each other in a circle") from error


def _node_files(recipe: Recipe, root: Path) -> tuple[str, ...]:
    return (
        recipe.playbook,
        *_roles(recipe, root),
        *recipe.finish,
        *recipe.finish_inputs,
        "ansible/ansible.cfg",
        "ansible/connection_plugins",
        *_ENTER,
    )


def artifact_keys(suite: str, artifacts: Mapping[str, Artifact], root: Path) -> dict[str, str]:
    """The key of each artifact, in an order in which its needs come first. Raises CycleError, FileNotFoundError."""
    keys: dict[str, str] = {}
    for name in TopologicalSorter({name: one.needs for name, one in artifacts.items()}).static_order():
        artifact = artifacts[name]
        needs = [keys[need] for need in artifact.needs]
        files = (artifact.script, *artifact.inputs, *_ENTER)
        keys[name] = _key(root, suite, artifact, needs, files=files, code=("artifacts.py", "rootfs.py"))
    return keys


def _key(root: Path, *values: object, files: tuple[str, ...] = (), code: tuple[str, ...]) -> str:
    return fingerprint(root, fingerprint(_CODE, files=code), *values, files=files)


def _roles(recipe: Recipe, root: Path) -> tuple[str, ...]:
    plays = yaml.safe_load((root / recipe.playbook).read_text())
    names = [role for play in plays for role in play.get("roles", ())]
    if not all(isinstance(name, str) for name in names):
        raise InvalidRequest(f"{recipe.playbook}: roles must be plain names, so that a bake notices their changes")
    return tuple(f"ansible/roles/{name}" for name in names)
