"""A recipe: the parts of a node image, as data. Not here: the bake (bake.py).

Recipes are files provisioning/recipes/NAME.yaml, bases provisioning/base/NAME.yaml; every path in them is below
provisioning/. A recipe that `extends` another one has its fields: mappings are merged, lists are appended, and other
values replace those of the other. What the other has built is taken from its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dayfly import assets
from dayfly.domain.image import ImageManifest, KubernetesNode, NodeSize
from dayfly.errors import InvalidRequest, NotFound

T = TypeVar("T", bound=BaseModel)

_EXTENDS: Final = "extends"
"""The field of a recipe's file that names another recipe."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RootFileSystem(_Data):
    """A Debian root file system: packages of a suite, from the machine's own apt sources."""

    suite: str
    packages: tuple[str, ...] = ()
    backports: tuple[str, ...] = ()
    """apt patterns (`qemu*`) of packages that come from <suite>-backports."""


class Base(RootFileSystem):
    """A root file system with a kernel, for nodes. Recipes add packages and kernel arguments."""

    kernel: str
    """The kernel's package."""
    kernel_arguments: tuple[str, ...] = ()


class Artifact(_Data):
    """An intermediate result of a bake, built in a root file system of its own, in parallel with other phases.

    `script` runs by its shebang as root in the folder /build. Its environment has `environment`, OUT (the empty folder
    for its results), INPUTS (copies of `inputs`, under their paths below provisioning/) and ARTIFACTS (the results of
    `needs`, each under its name, read-only). The script can use apt, `apt-get source` too.
    """

    script: str
    packages: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = {}


class Recipe(_Data):
    """A node image. Sizes as in ImageManifest; `disk_gib` is the virtual size of the disk in the image."""

    name: str = Field(pattern=r"^[a-z][a-z0-9.-]*$")
    description: str
    base: str
    """A file of provisioning/base/, without `.yaml`."""
    packages: tuple[str, ...] = ()
    """Packages beside those of the base."""
    artifacts: dict[str, Artifact] = {}
    playbook: str
    """The Ansible play that turns the root file system into a node; artifacts are in `artifacts.<name>`."""
    vars: dict[str, str | int | bool | list[str]] = {}
    """Extra variables of the play, beside recipe_name and artifacts."""
    finish: tuple[str, ...] = ()
    """Scripts that run one by one, by their shebang, as root in the node's root file system after the play, with INPUTS
    (copies of `finish_inputs`) and ARTIFACTS in their environment. Each script has its own process and network
    namespace, so its processes end with it."""
    finish_inputs: tuple[str, ...] = ()
    disk_gib: int = Field(ge=1)
    control_plane: NodeSize
    worker: NodeSize
    minimum: NodeSize
    kernel_arguments: tuple[str, ...] = ()
    kubernetes: KubernetesNode | None = None
    verify: tuple[str, ...] = ()
    cached_as: dict[str, str] = {}
    """`base` or an artifact → its name in the cache, where that is not RECIPE.NAME. Part of no key."""

    def cache_name(self, part: str) -> str:
        """The cache's name of `base` or of an artifact."""
        return self.cached_as.get(part, f"{self.name}.{part}")

    def manifest(self, base: Base, digest: str) -> ImageManifest:
        return ImageManifest(
            recipe=self.name,
            kernel_arguments=(*base.kernel_arguments, *self.kernel_arguments),
            control_plane=self.control_plane,
            worker=self.worker,
            minimum=self.minimum,
            kubernetes=self.kubernetes,
            verify=self.verify,
            digest=digest,
        )


def load_recipe(name: str, root: Path | None = None) -> Recipe:
    """The recipe `name`. Raises NotFound, or InvalidRequest when the file is not a valid recipe."""
    recipe = _load(Recipe, (root or assets.provisioning()) / "recipes" / f"{name}.yaml", _read_recipe)
    if recipe.name != name:
        raise InvalidRequest(f"recipes/{name}.yaml has the name {recipe.name!r}, which must be {name!r}")
    _check_needs(recipe)
    return recipe


def define_recipe(fields: Mapping[str, Any], root: Path | None = None) -> Recipe:
    """A recipe from the fields that a file would have. Raises InvalidRequest.

    Not here: what a caller may define (orders.py).
    """
    path = (root or assets.provisioning()) / "recipes" / f"{fields.get('name')}.yaml"
    try:
        recipe = Recipe.model_validate(_extended(dict(fields), path))
    except ValidationError as error:
        raise InvalidRequest(f"definition: {_reasons(error)}") from error
    _check_needs(recipe)
    return recipe


def load_base(name: str, root: Path | None = None) -> Base:
    """The base `name`. Raises as load_recipe does."""
    return _load(Base, (root or assets.provisioning()) / "base" / f"{name}.yaml")


def load_toolbox(root: Path | None = None) -> RootFileSystem:
    """The root file system of every node image's container. Raises as load_recipe does."""
    return _load(RootFileSystem, (root or assets.provisioning()) / "toolbox" / "toolbox.yaml")


def recipe_names(root: Path | None = None) -> tuple[str, ...]:
    """The names of all recipes, sorted."""
    return tuple(sorted(path.stem for path in ((root or assets.provisioning()) / "recipes").glob("*.yaml")))


def _check_needs(recipe: Recipe) -> None:
    for artifact, details in recipe.artifacts.items():
        for need in details.needs:
            if need not in recipe.artifacts:
                why = f"artifact {artifact} needs {need}, which is not an artifact of it"
                raise InvalidRequest(f"recipe {recipe.name}: {why}")


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _read_recipe(path: Path) -> Any:
    """A recipe's fields, with those of the recipe that it extends."""
    return _extended(_read(path), path)


def _extended(own: Any, path: Path) -> Any:
    """The fields `own` of the recipe at `path`, with those of the recipe that it extends."""
    if not isinstance(own, dict) or _EXTENDS not in own:
        return own
    name = str(own.pop(_EXTENDS))
    # One level: a recipe's parts are found in two files at most.
    other = _read(path.with_name(f"{name}.yaml"))
    if not isinstance(other, dict) or _EXTENDS in other:
        raise InvalidRequest(f"recipes/{path.name} extends {name}, which is no recipe or extends another one")
    shared = {artifact: f"{name}.{artifact}" for artifact in other.get("artifacts", {})}
    if not own.get("packages") and "base" not in own:
        shared["base"] = f"{name}.base"
    own["cached_as"] = shared | own.get("cached_as", {})
    return _merged(other, own)


def _merged(other: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(other)
    for name, value in own.items():
        match merged.get(name), value:
            case dict() as before, dict():
                merged[name] = _merged(before, value)
            case list() as before, list():
                merged[name] = [*before, *value]
            case _:
                merged[name] = value
    return merged


def _load(model: type[T], path: Path, read: Callable[[Path], Any] = _read) -> T:
    try:
        return model.model_validate(read(path))
    except FileNotFoundError:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise NotFound(f"there is no {model.__name__.lower()} {path.stem!r}; there are: {known}") from None
    except (ValidationError, yaml.YAMLError) as error:
        kind = model.__name__.lower()
        why = " ".join(str(error).split())
        if isinstance(error, ValidationError):
            why = _reasons(error)
        raise InvalidRequest(f"{path.parent.name}/{path.name} is not a valid {kind}: {why}") from error


def _reasons(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
