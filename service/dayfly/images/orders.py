"""Orders of bakes over HTTP: the recipe that an order means, and what an order may contain.

A caller chooses among the files below provisioning/, and brings no program. What a recipe file may do, and a caller may
not: variables that its play does not take (Ansible reads `ansible_connection` from them), templates in variables (a
template can run a command on this machine), variables of its own for scripts, files outside of provisioning/, and the
names of others' entries of the cache. `verify` is free: its commands run on a machine of the image, where every caller
who creates a cluster is root.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dayfly import assets
from dayfly.domain.bake import BakeOrder, Variable
from dayfly.domain.image import NodeSize
from dayfly.errors import BadName, InvalidRequest
from dayfly.images.node_images import check_name
from dayfly.images.plan import make_plan
from dayfly.images.recipe import Recipe, define_recipe, load_recipe, recipe_names

_RECIPE: Final = re.compile(r"[a-z][a-z0-9]*([.-][a-z0-9]+)*")
_PART: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""The name of an artifact, which becomes part of paths."""
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]{0,99}(:[a-z0-9]+)?")
"""A plain name: apt takes a path, a pattern or an option, too."""
_KERNEL_ARGUMENT: Final = re.compile(r"[!-~]{1,200}")
_TEMPLATE: Final = ("{{", "{%", "{#")
_RESERVED: Final = frozenset({"cached_as", "choices", "layer", "versions"})
_TEXT_CHARACTERS: Final = 4000
_LARGEST_NUMBER: Final = 2**31 - 1
_LARGEST: Final = NodeSize(vcpus=64, memory_mib=256 * 1024, disk_gib=1024)


def ordered_recipe(order: BakeOrder, root: Path | None = None) -> Recipe:
    """The recipe that the order means, on this installation as it is now. Raises NotFound, InvalidRequest, BadName."""
    root = root or assets.provisioning()
    if order.definition is not None:
        return _defined(order.definition, root)
    if not _RECIPE.fullmatch(order.recipe):
        raise BadName(f"{order.recipe!r} cannot be the name of a recipe")
    recipe = load_recipe(order.recipe, root)
    check_variables(recipe, order.variables)
    # An order that does not change a value is the recipe's own: it has the same key.
    return load_recipe(order.recipe, root, variables=order.variables) if order.variables else recipe


async def check_order(order: BakeOrder, root: Path | None = None) -> None:
    """Whether the order can be baked, as far as files show. Raises as ordered_recipe."""
    # In a thread: the plan reads all files of the recipe.
    await asyncio.to_thread(_check, order, root or assets.provisioning())


def _check(order: BakeOrder, root: Path) -> None:
    make_plan(ordered_recipe(order, root), root)


def check_variables(recipe: Recipe, variables: Mapping[str, Variable]) -> None:
    """Whether the recipe's play takes these variables. Raises InvalidRequest for others, and for other types."""
    for name, value in variables.items():
        if name not in recipe.vars:
            known = ", ".join(sorted(recipe.vars)) or "none"
            raise InvalidRequest(f"variables: recipe {recipe.name} has no variable {name!r}; it has: {known}")
        _check_variable("variables", name, value, recipe.vars[name])


def _check_variable(field: str, name: str, value: Variable, known: Variable) -> None:
    if type(value) is not type(known):
        raise InvalidRequest(f"{field}: {name} must be {_KINDS[type(known)]}, as in the recipe")
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"{field}: {name} must be at most {_LARGEST_NUMBER}")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and any(begin in text for begin in _TEMPLATE):
            raise InvalidRequest(f"{field}: {name} must be a plain value, without a template")
    _check_texts(value, f"{field}: {name}")


_KINDS: Final = {str: "a string", int: "an integer", bool: "true or false", list: "a list of strings"}


def _defined(fields: Mapping[str, Any], root: Path) -> Recipe:
    name = fields.get("name")
    if not isinstance(name, str) or not _RECIPE.fullmatch(name):
        raise BadName(
            "definition: name must be 1 to 40 lower-case letters, digits and hyphens, and begin with a letter"
        )
    check_name(name)
    installed = recipe_names(root)
    if name in installed:
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
    own = [load_recipe(one, root) for one in installed]
    _check_variables(recipe, own)
    _check_environment(recipe, own)
    return recipe


def _check_content(recipe: Recipe, root: Path) -> None:
    bases = {path.stem for path in (root / "base").glob("*.yaml")}
    if recipe.base not in bases:
        raise InvalidRequest(f"definition: base must be one of {', '.join(sorted(bases))}")
    plays = {f"ansible/{path.name}" for path in (root / "ansible").glob("*.yaml")}
    if recipe.playbook not in plays:
        raise InvalidRequest(f"definition: playbook must be one of {', '.join(sorted(plays))}")
    for name in recipe.artifacts:
        if not _PART.fullmatch(name) or name in {"base", "node", "disk", "image"}:
            raise InvalidRequest(f"definition: {name!r} cannot be the name of an artifact")
    for path in _files(recipe):
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


def _check_sizes(recipe: Recipe) -> None:
    for field in ("control_plane", "worker", "minimum"):
        size: NodeSize = getattr(recipe, field)
        for part, largest in _LARGEST.model_dump().items():
            if not 1 <= getattr(size, part) <= largest:
                raise InvalidRequest(f"definition: {field}.{part} must be 1 to {largest}")
    if recipe.disk_gib > min(recipe.control_plane.disk_gib, recipe.worker.disk_gib, recipe.minimum.disk_gib):
        raise InvalidRequest("definition: disk_gib must not be more than the disk of any node")


def _files(recipe: Recipe) -> Iterator[str]:
    for artifact in recipe.artifacts.values():
        yield artifact.script
        yield from artifact.inputs
    yield from recipe.finish
    yield from recipe.finish_inputs
    yield from recipe.layer.manifests if recipe.layer else ()


def _check_file(path: str, root: Path) -> None:
    """Whether `path` is a file or folder below `root` under its plain name. Raises InvalidRequest."""
    parts = path.split("/")
    target = (root / path).resolve()
    inside = all(part not in {"", ".", ".."} for part in parts) and target.is_relative_to(root.resolve())
    if not inside or not target.exists():
        raise InvalidRequest(f"definition: {path!r} is not a file below provisioning/")


def _check_variables(recipe: Recipe, own: list[Recipe]) -> None:
    """The play gets variables that a recipe of this installation gives to it, with their types."""
    known = {name: value for one in own if one.playbook == recipe.playbook for name, value in one.vars.items()}
    for name, value in recipe.vars.items():
        if name not in known:
            taken = ", ".join(sorted(known)) or "none"
            raise InvalidRequest(f"definition: {recipe.playbook} takes no variable {name!r}; it takes: {taken}")
        _check_variable("definition.vars", name, value, known[name])


def _check_environment(recipe: Recipe, own: list[Recipe]) -> None:
    """A script gets variables that a recipe of this installation gives to it: PATH and its like run other programs."""
    known: dict[str, set[str]] = {}
    for artifact in (artifact for one in own for artifact in one.artifacts.values()):
        known.setdefault(artifact.script, set()).update(artifact.environment)
    for artifact in recipe.artifacts.values():
        if unknown := sorted(artifact.environment.keys() - known.get(artifact.script, set())):
            raise InvalidRequest(f"definition: {artifact.script} takes no variable {unknown[0]!r}")


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
