"""A recipe: the parts of a node image, as data. Not here: the bake (bake.py).

Recipes are files provisioning/recipes/NAME.yaml, bases provisioning/base/NAME.yaml; every path in them is below
provisioning/. A recipe that `extends` another one has its fields: mappings are merged, lists are appended, and other
values replace those of the other. What the other has built is taken from its cache. A recipe that is `from` another one
is a layer over its image (layer_recipe.py).

A recipe with `versions` is a family: NAME-VERSION is that recipe with the values of a version (recipe_family.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dayfly import assets
from dayfly.domain.bake import Variable
from dayfly.domain.image import ImageManifest, KubernetesNode, NodeSize
from dayfly.errors import InvalidRequest, NotFound
from dayfly.images.cloud_base import KIND, CloudBase
from dayfly.images.layer_recipe import FROM, Layer, layer_fields
from dayfly.images.recipe_family import family_names, read_fields, with_choices

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
    """A part (`base`, an artifact, `node`, `disk`, `layer`) → its name in the cache, where that is not RECIPE.PART. In
    no key."""
    layer: Layer | None = None
    """Of a recipe that is `from` another one. Then packages, artifacts, play, scripts, kernel arguments and `verify`
    are what is added; base, sizes and Kubernetes are those of the image below."""

    def cache_name(self, part: str) -> str:
        """The cache's name of a part."""
        return self.cached_as.get(part, f"{self.name}.{part}")

    def manifest(self, base: Base | CloudBase, digest: str) -> ImageManifest:
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


def load_recipe(
    name: str,
    root: Path | None = None,
    *,
    above: tuple[str, ...] = (),
    variables: Mapping[str, Variable] = MappingProxyType({}),
) -> Recipe:
    """The recipe `name`. Raises NotFound, or InvalidRequest when the file is not a valid recipe.

    `above`: the layers that lead to it. `variables`: values of its play's variables, instead of the file's.
    """
    if name in above:
        raise InvalidRequest(f"recipes are from each other in a circle: {' → '.join((*above, name))}")
    root = root or assets.provisioning()
    read = partial(_read_recipe, root=root, above=(*above, name), variables=variables)
    recipe = _load(Recipe, root / "recipes" / f"{name}.yaml", read, partial(recipe_names, root))
    if recipe.name != name:
        raise InvalidRequest(f"recipes/{name}.yaml has the name {recipe.name!r}, which must be {name!r}")
    _check_needs(recipe)
    return recipe


def define_recipe(fields: Mapping[str, Any], root: Path | None = None) -> Recipe:
    """A recipe from the fields that a file would have. Raises InvalidRequest.

    Not here: what a caller may define (orders.py).
    """
    root = root or assets.provisioning()
    name = str(fields.get("name"))
    path = root / "recipes" / f"{name}.yaml"
    try:
        recipe = Recipe.model_validate(_completed(dict(fields), path, root, (name,), {}))
    except ValidationError as error:
        raise InvalidRequest(f"definition: {_reasons(error)}") from error
    _check_needs(recipe)
    return recipe


def load_base(name: str, root: Path | None = None) -> Base:
    """The base `name` of a bake. Raises as load_recipe does; InvalidRequest for a cloud image, too."""
    base = load_any_base(name, root)
    if isinstance(base, CloudBase):
        raise InvalidRequest(
            f"the base {name} is a cloud image: only a root file system by mmdebstrap, such as debian-12, will do here"
        )
    return base


def load_any_base(name: str, root: Path | None = None) -> Base | CloudBase:
    """The base `name`, of either kind. Raises as load_recipe does."""
    path = base_file(name, root)
    return _load(CloudBase, path) if _is_cloud_image(path) else _load(Base, path)


def base_file(name: str, root: Path | None = None) -> Path:
    """The data file of the base `name`, which need not exist."""
    return (root or assets.provisioning()) / "base" / f"{name}.yaml"


def base_names(root: Path | None = None) -> tuple[str, ...]:
    """The names of all bases, sorted."""
    return tuple(sorted(path.stem for path in ((root or assets.provisioning()) / "base").glob("*.yaml")))


def load_toolbox(root: Path | None = None) -> RootFileSystem:
    """The root file system of every node image's container. Raises as load_recipe does."""
    return _load(RootFileSystem, (root or assets.provisioning()) / "toolbox" / "toolbox.yaml")


def recipe_names(root: Path | None = None) -> tuple[str, ...]:
    """The names of all recipes, sorted; of a family, those of its versions."""
    root = root or assets.provisioning()
    paths = sorted((root / "recipes").glob("*.yaml"), key=lambda path: path.stem)
    return tuple(name for path in paths for name in family_names(path) or (path.stem,))


def _check_needs(recipe: Recipe) -> None:
    for artifact, details in recipe.artifacts.items():
        for need in details.needs:
            if need not in recipe.artifacts:
                why = f"artifact {artifact} needs {need}, which is not an artifact of it"
                raise InvalidRequest(f"recipe {recipe.name}: {why}")


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _is_cloud_image(path: Path) -> bool:
    """Whether the file names that kind. What is no base of any kind is refused by the kind without a name."""
    try:
        found = _read(path)
    except (OSError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND


def _read_recipe(path: Path, root: Path, above: tuple[str, ...], variables: Mapping[str, Any]) -> Any:
    """The fields of a recipe's file, with all that they refer to."""
    own = read_fields(path)
    return _completed(own, path, root, above, variables) if isinstance(own, dict) else own


def _completed(
    own: dict[str, Any], path: Path, root: Path, above: tuple[str, ...], variables: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields `own` of the recipe at `path`, with those of the recipe that it extends or is a layer over.

    `variables` replace its own before its choices are made.
    """
    if FROM in own:
        below = own[FROM]
        inherited = load_recipe(below, root, above=above).model_dump() if isinstance(below, str) else {}
        return _with_variables(layer_fields(own, inherited, f"recipes/{path.name}"), variables)
    if _EXTENDS in own:
        name = str(own.pop(_EXTENDS))
        # One level: a recipe's parts are found in two files at most.
        other = read_fields(path.with_name(f"{name}.yaml"))
        if not isinstance(other, dict) or _EXTENDS in other:
            raise InvalidRequest(f"recipes/{path.name} extends {name}, which is no recipe or extends another one")
        shared = {artifact: f"{name}.{artifact}" for artifact in other.get("artifacts", {})}
        if not own.get("packages") and "base" not in own:
            shared["base"] = other.get("cached_as", {}).get("base", f"{name}.base")
        own["cached_as"] = shared | own.get("cached_as", {})
        own = _merged(other, own)
    return with_choices(_with_variables(own, variables), path)


def _with_variables(fields: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    return fields | {"vars": {**fields.get("vars", {}), **variables}} if variables else fields


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


def _load(
    model: type[T],
    path: Path,
    read: Callable[[Path], Any] = _read,
    names: Callable[[], tuple[str, ...]] | None = None,
) -> T:
    """The value in `path`. `names`: the known names, by default of the files in its folder."""
    try:
        return model.model_validate(read(path))
    except FileNotFoundError:
        known = ", ".join(names() if names else sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise NotFound(f"there is no {model.__name__.lower()} {path.stem!r}; there are: {known}") from None
    except (ValidationError, yaml.YAMLError) as error:
        kind = "base of the kind cloud-image" if model is CloudBase else model.__name__.lower()
        why = " ".join(str(error).split())
        if isinstance(error, ValidationError):
            why = _reasons(error)
        raise InvalidRequest(f"{path.parent.name}/{path.name} is not a valid {kind}: {why}") from error


def _reasons(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
