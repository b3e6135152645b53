"""Orders of bakes over HTTP: the recipe that an order means, and what an order may contain.

A caller chooses among the files below provisioning/, and brings no program. What a recipe file may do, and a caller may
not: variables that its play does not take (Ansible reads `ansible_connection` from them), templates in variables (a
template can run a command on this machine), values with characters of a shell or of make, values of its own for
variables that choices set (a unit of systemd, an address to download from), variables of its own for scripts, files
outside of provisioning/, and the names of others' entries of the cache. `verify` is free: its commands run on a machine
of the image, where every caller who creates a cluster is root.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from dayfly import assets
from dayfly.domain.bake import BakeOrder, Variable
from dayfly.domain.image import NodeSize
from dayfly.errors import BadName, InvalidRequest
from dayfly.images.node_images import check_name
from dayfly.images.plan import make_plan
from dayfly.images.recipe import Recipe, define_recipe, load_recipe, recipe_names
from dayfly.images.recipe_family import choice_values

_RECIPE: Final = re.compile(r"[a-z][a-z0-9]*([.-][a-z0-9]+)*")
_DEFINED: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""The name of a definition. Without dots: names of containers have hyphens instead, and of parts in the cache dots."""
_PART: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""The name of an artifact, which becomes part of paths."""
_PARTS: Final = frozenset({"base", "node", "disk", "image", "layer"})
"""The parts of every image."""
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]{0,99}(:[a-z0-9]+)?")
"""A plain name: apt takes a path, a pattern or an option, too."""
_KERNEL_ARGUMENT: Final = re.compile(r"[!-~]{1,200}")
_PATH: Final = re.compile(r"/(?!/)[!-~]*")
"""A path of the API server. A whole address would be asked instead of the API server."""
_VALUE: Final = re.compile(r"(?!-)[A-Za-z0-9_.:/@+=,-]*")
"""A version, a name, the name of an image: plays and scripts put values into command lines, files and programs."""
_TEMPLATE: Final = ("{{", "{%", "{#")
_RESERVED: Final = frozenset({"cached_as", "choices", "layer", "versions"})
_TEXT_CHARACTERS: Final = 4000
_LARGEST_NUMBER: Final = 2**31 - 1
_MOST_ARTIFACTS: Final = 32
"""All whose needs are built are built at once."""
_LARGEST: Final = NodeSize(vcpus=64, memory_mib=256 * 1024, disk_gib=1024)


def ordered_recipe(order: BakeOrder, root: Path | None = None) -> Recipe:
    """The recipe that the order means, on this installation as it is now. Raises NotFound, InvalidRequest, BadName."""
    root = root or assets.provisioning()
    if order.definition is not None:
        return _defined(order.definition, root)
    if not _RECIPE.fullmatch(order.recipe):
        raise BadName(f"{order.recipe!r} cannot be the name of a recipe")
    recipe = load_recipe(order.recipe, root)
    check_variables(recipe, order.variables, choice_values(root))
    # An order that does not change a value is the recipe's own: it has the same key.
    other = load_recipe(order.recipe, root, variables=order.variables) if order.variables else recipe
    if order.state:
        return _with_places(recipe, "rebuild")
    return recipe if other == recipe else _with_places(other, "variant")


def takes_name(order: BakeOrder, root: Path | None = None) -> bool:
    """Whether the image gets the tag `latest`: not with variables of its own, because the name is the recipe's.

    Nor a rebuild: its name moves by a promotion.
    """
    if order.state:
        return False
    if order.definition is not None or not order.variables:
        return True
    return ordered_recipe(order, root) == load_recipe(order.recipe, root)


def _with_places(recipe: Recipe, kind: Literal["rebuild", "variant"]) -> Recipe:
    """With places of its own in the cache: it must not evict what the recipe itself has there."""
    # A variant has the base and the artifacts of the recipe.
    parts = ("node", "disk", "layer") if kind == "variant" else ("base", "node", "disk", *recipe.artifacts)
    places = {part: f"{recipe.name}.{part}.{kind}" for part in parts}
    return recipe.model_copy(update={"cached_as": {**recipe.cached_as, **places}})


async def check_order(order: BakeOrder, root: Path | None = None) -> None:
    """Whether the order can be baked, as far as files show. Raises as ordered_recipe."""
    # In a thread: the plan reads all files of the recipe.
    await asyncio.to_thread(_check, order, root or assets.provisioning())


def _check(order: BakeOrder, root: Path) -> None:
    recipe = ordered_recipe(order, root)
    make_plan(recipe, root)
    # What is below a layer from a registry is known only when it is there: its verification looks.
    is_known = recipe.layer is None or isinstance(recipe.layer.below, str)
    if order.conformance is not None and is_known and not (recipe.kubernetes and recipe.kubernetes.conformance):
        raise InvalidRequest(
            f"readiness: images of the recipe {recipe.name} have no conformance tests: those of k8s-debian-conformance "
            "have them"
        )


def check_variables(
    recipe: Recipe, variables: Mapping[str, Variable], choices: Mapping[str, Sequence[Variable]] = MappingProxyType({})
) -> None:
    """Whether the recipe's play takes these variables. Raises InvalidRequest for others, and for other types.

    `choices`: the values of variables that have no others.
    """
    for name, value in variables.items():
        if name not in recipe.vars:
            known = ", ".join(sorted(recipe.vars)) or "none"
            raise InvalidRequest(f"variables: recipe {recipe.name} has no variable {name!r}; it has: {known}")
        _check_variable("variables", name, value, [recipe.vars[name]], choices.get(name))


def _check_variable(
    field: str, name: str, value: Variable, known: Sequence[Variable], choices: Sequence[Variable] | None
) -> None:
    """`known`: its values in recipes of this installation; `choices`: its only values, if it has no others."""
    if type(value) not in (kinds := [type(one) for one in known]):
        raise InvalidRequest(f"{field}: {name} must be {_KINDS[kinds[0]]}, as in the recipe")
    if _is_one_of(value, known):
        return
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"{field}: {name} must be at most {_LARGEST_NUMBER}")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and any(begin in text for begin in _TEMPLATE):
            raise InvalidRequest(f"{field}: {name} must be a plain value, without a template")
    _check_texts(value, f"{field}: {name}")
    if choices is not None and not _is_one_of(value, choices):
        raise InvalidRequest(f"{field}: {name} must be one of: {', '.join(sorted(map(str, choices)))}")
    if choices is None:
        _check_value(f"{field}: {name}", value)


def _is_one_of(value: Variable, others: Collection[Variable]) -> bool:
    return any(type(one) is type(value) and one == value for one in others)


def _check_value(where: str, value: Variable) -> None:
    """Whether its texts are no more than words, to a shell, make, Ansible, YAML and apt. Raises InvalidRequest."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and (not _VALUE.fullmatch(text) or ".." in text or "://" in text):
            raise InvalidRequest(
                f"{where} must be letters, digits and _.:/@+=,- alone, without .. and ://, and not begin with -"
            )


_KINDS: Final = {str: "a string", int: "an integer", bool: "true or false", list: "a list of strings"}


def _defined(fields: Mapping[str, Any], root: Path) -> Recipe:
    name = fields.get("name")
    if not isinstance(name, str) or not _DEFINED.fullmatch(name):
        raise BadName(
            "definition: name must be 1 to 40 lower-case letters, digits and hyphens, and begin with a letter"
        )
    check_name(name)
    installed = recipe_names(root)
    if _is_installed(name, root):
        raise BadName(f"definition: {name} is the name of a recipe of this installation: choose another name")
    if reserved := sorted(_RESERVED & fields.keys()):
        raise InvalidRequest(f"definition: {reserved[0]} is for recipes of this installation")
    for field in ("extends", "from"):
        if field in fields and fields[field] not in installed:
            known = ", ".join(installed)
            raise InvalidRequest(f"definition: {field} must name a recipe of this installation: {known}")
    _check_texts(fields, "definition")
    recipe = define_recipe(fields, root)
    _check_content(recipe, root)
    if "extends" in fields:
        recipe = _with_own_places(recipe, load_recipe(fields["extends"], root), root)
    own = [load_recipe(one, root) for one in installed]
    _check_variables(recipe, own, choice_values(root))
    _check_environment(recipe, own)
    return recipe


def _with_own_places(recipe: Recipe, parent: Recipe, root: Path) -> Recipe:
    """With places of its own in the cache for the parts that differ from the parent's: they must not evict those."""
    ours, theirs = make_plan(recipe, root).keys, make_plan(parent, root).keys
    same = {name for name, key in ours.artifacts.items() if theirs.artifacts.get(name) == key}
    if ours.base == theirs.base:
        same.add("base")
    return recipe.model_copy(update={"cached_as": {part: at for part, at in recipe.cached_as.items() if part in same}})


def _is_installed(name: str, root: Path) -> bool:
    """Whether it is the name of a recipe or of a family, or one that a recipe of a family has or may get.

    Names that differ by a hyphen in place of a dot are the same: they would share the machine of the verification.
    """
    if (root / "recipes" / f"{name}.yaml").is_file():
        return True
    if name in {one.replace(".", "-") for one in recipe_names(root)}:
        return True
    families = {path.stem for path in (root / "recipes").glob("*.yaml")} - set(recipe_names(root))
    return any(re.match(rf"{re.escape(family)}-v?[0-9]", name) for family in families)


def _check_content(recipe: Recipe, root: Path) -> None:
    bases = {path.stem for path in (root / "base").glob("*.yaml")}
    if recipe.base not in bases:
        raise InvalidRequest(f"definition: base must be one of {', '.join(sorted(bases))}")
    plays = {f"ansible/{path.name}" for path in (root / "ansible").glob("*.yaml")}
    if recipe.playbook not in plays:
        raise InvalidRequest(f"definition: playbook must be one of {', '.join(sorted(plays))}")
    if len(recipe.artifacts) > _MOST_ARTIFACTS:
        raise InvalidRequest(f"definition: there may be {_MOST_ARTIFACTS} artifacts at most")
    for name in recipe.artifacts:
        if not _PART.fullmatch(name) or name in _PARTS:
            raise InvalidRequest(f"definition: {name!r} cannot be the name of an artifact")
    for path in _files(recipe):
        _check_file(path, root, is_file=True)
    for path in _inputs(recipe):
        _check_file(path, root)
    _check_words(recipe)
    _check_sizes(recipe)


def _check_words(recipe: Recipe) -> None:
    for package in (*recipe.packages, *(name for one in recipe.artifacts.values() for name in one.packages)):
        if not _PACKAGE.fullmatch(package):
            raise InvalidRequest(f"definition: {package!r} is not the name of a package")
    for argument in recipe.kernel_arguments:
        if not _KERNEL_ARGUMENT.fullmatch(argument):
            raise InvalidRequest(f"definition: {argument!r} is not one argument of a kernel")
    of_kubernetes = recipe.kubernetes.ready_paths if recipe.kubernetes else ()
    for path in (*of_kubernetes, *(recipe.layer.ready_paths if recipe.layer else ())):
        if not _PATH.fullmatch(path):
            raise InvalidRequest(f"definition: {path!r} is not a path of the API server")


def _check_sizes(recipe: Recipe) -> None:
    for field in ("control_plane", "worker", "minimum"):
        size: NodeSize = getattr(recipe, field)
        for part, largest in _LARGEST.model_dump().items():
            if not 1 <= getattr(size, part) <= largest:
                raise InvalidRequest(f"definition: {field}.{part} must be 1 to {largest}")
    if recipe.disk_gib > min(recipe.control_plane.disk_gib, recipe.worker.disk_gib, recipe.minimum.disk_gib):
        raise InvalidRequest("definition: disk_gib must not be more than the disk of any node")


def _files(recipe: Recipe) -> Iterator[str]:
    yield from (artifact.script for artifact in recipe.artifacts.values())
    yield from recipe.finish
    yield from recipe.layer.manifests if recipe.layer else ()


def _inputs(recipe: Recipe) -> Iterator[str]:
    """Files or folders."""
    for artifact in recipe.artifacts.values():
        yield from artifact.inputs
    yield from recipe.finish_inputs


def _check_file(path: str, root: Path, *, is_file: bool = False) -> None:
    """Whether `path` is below `root` under its plain name. `is_file`: a folder is refused. Raises InvalidRequest."""
    parts = path.split("/")
    target = (root / path).resolve()
    inside = all(part not in {"", ".", ".."} for part in parts) and target.is_relative_to(root.resolve())
    if not inside or not (target.is_file() if is_file else target.exists()):
        raise InvalidRequest(f"definition: {path!r} is not a file below provisioning/")


def _check_variables(recipe: Recipe, own: list[Recipe], choices: Mapping[str, Sequence[Variable]]) -> None:
    """The play gets variables that a recipe of this installation gives to it, with their types."""
    known: dict[str, list[Variable]] = {}
    for name, value in (item for one in own if one.playbook == recipe.playbook for item in one.vars.items()):
        known.setdefault(name, []).append(value)
    for name, value in recipe.vars.items():
        if name not in known:
            taken = ", ".join(sorted(known)) or "none"
            raise InvalidRequest(f"definition: {recipe.playbook} takes no variable {name!r}; it takes: {taken}")
        _check_variable("definition.vars", name, value, known[name], choices.get(name))


def _check_environment(recipe: Recipe, own: list[Recipe]) -> None:
    """A script gets variables that a recipe of this installation gives to it: PATH and its like run other programs."""
    known: dict[str, dict[str, list[str]]] = {}
    for artifact in (artifact for one in own for artifact in one.artifacts.values()):
        for name, value in artifact.environment.items():
            known.setdefault(artifact.script, {}).setdefault(name, []).append(value)
    for artifact in recipe.artifacts.values():
        taken = known.get(artifact.script, {})
        for name, value in sorted(artifact.environment.items()):
            if name not in taken:
                raise InvalidRequest(f"definition: {artifact.script} takes no variable {name!r}")
            if value not in taken[name]:
                _check_value(f"definition: {name} of {artifact.script}", value)


def _check_texts(value: object, where: str) -> None:
    """Whether all texts within `value` are lines of bounded length. Raises InvalidRequest."""
    match value:
        case str() if not value.isprintable() or len(value) > _TEXT_CHARACTERS:
            raise InvalidRequest(f"{where}: each text must be one printable line of {_TEXT_CHARACTERS} characters")
        case Mapping():
            for key, one in value.items():
                _check_texts(key, where)
                _check_texts(one, where)
        case list() | tuple():
            for one in value:
                _check_texts(one, where)
