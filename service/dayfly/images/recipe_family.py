"""Families of recipes (a file with `versions`: NAME-VERSION is a recipe of it), and choices of variables.

    versions: kubernetes/versions.yaml       @version@, @etcd@ … in the file's texts are values of that version's line
    choices: {network: networks.yaml}        a value of the variable `network` sets all variables below it in that file

Not here: what a recipe is (recipe.py), and what versions are (kubernetes_versions.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from dayfly.domain.bake import Variable
from dayfly.errors import InvalidRequest, NotFound
from dayfly.images.kubernetes_versions import Release, find_release, listed, load_versions, looks_like_version

_VERSIONS: Final = "versions"
_CHOICES: Final = "choices"
_VALUE: Final = re.compile("@([a-z_]+)@")


def family_names(path: Path) -> tuple[str, ...] | None:
    """The names of the recipes of the family in `path`; None for the file of one recipe. Raises InvalidRequest."""
    versions = _versions_of(path)
    return None if versions is None else listed(path.stem, load_versions(_root(path) / versions))


def read_fields(path: Path) -> Any:
    """The fields of one file, or of a family's with the values of the version in `path`."""
    if (found := _family(path)) is None:
        fields = _load(path)
        if isinstance(fields, dict) and _VERSIONS in fields:
            known = ", ".join(listed(path.stem, load_versions(_root(path) / str(fields[_VERSIONS]))))
            raise NotFound(f"the recipe {path.stem} needs a version; there are: {known}")
        return fields
    family, release = found
    fields = _with_values(_load(family), release.values(), family)
    del fields[_VERSIONS]
    fields["name"] = path.stem
    fields["kernel_arguments"] = [*fields.get("kernel_arguments", ()), *release.line.kernel_arguments]
    return fields


def _family(path: Path) -> tuple[Path, Release] | None:
    """The file of the family that NAME-VERSION.yaml is of, and its release; None where it is no such name."""
    if path.is_file() or "-" not in path.stem:
        return None
    name, _, version = path.name.removesuffix(".yaml").rpartition("-")
    family = path.with_name(f"{name}.yaml")
    versions = _versions_of(family) if family.is_file() and looks_like_version(version) else None
    if versions is None:
        return None
    return family, find_release(name, version, load_versions(_root(path) / versions))


def _versions_of(path: Path) -> str | None:
    """The file of versions of the family in `path`; None for any other file."""
    try:
        fields = _load(path)
    except yaml.YAMLError:
        return None  # the recipe itself is refused when it is asked for
    versions = fields.get(_VERSIONS) if isinstance(fields, dict) else None
    return None if versions is None else str(versions)


def _with_values(value: Any, values: Mapping[str, str], path: Path) -> Any:
    """`value` with `@name@` replaced in each text. Raises InvalidRequest for an unknown name."""
    match value:
        case dict():
            return {key: _with_values(one, values, path) for key, one in value.items()}
        case list():
            return [_with_values(one, values, path) for one in value]
        case str():
            if unknown := set(_VALUE.findall(value)) - set(values):
                raise InvalidRequest(f"recipes/{path.name} has @{min(unknown)}@, which is no value of a version")
            return _VALUE.sub(lambda found: values[found[1]], value)
    return value


def with_choices(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    """`fields` with the variables that the values of its choices set. Raises InvalidRequest for an unknown value."""
    choices, given = fields.pop(_CHOICES, {}), fields.get("vars", {})
    if not isinstance(given, dict):
        return fields  # the recipe's own check refuses them
    variables = dict(given)
    for variable, file in choices.items():
        choices = _load(_root(path) / file)
        value = variables.get(variable)
        if not isinstance(value, str) or value not in choices:
            known = ", ".join(sorted(choices))
            raise InvalidRequest(f"recipe {path.stem}: {variable} is {value!r}, and must be one of: {known}")
        variables = choices[value] | variables
    return fields | {"vars": variables} if variables else fields


def choice_values(root: Path) -> Mapping[str, list[Variable]]:
    """Each variable that is a choice, or that a choice sets, of any recipe below `root`: the values that it can get."""
    found: dict[str, list[Variable]] = {}
    for path in sorted((root / "recipes").glob("*.yaml")):
        try:
            fields = _load(path)
            choices = fields.get(_CHOICES, {}) if isinstance(fields, dict) else {}
            files = {variable: _load(root / file) for variable, file in choices.items()}
        except (OSError, yaml.YAMLError):
            continue  # the recipe itself is refused when it is asked for
        for variable, content in files.items():
            for value, variables in content.items():
                for name, one in {variable: value, **variables}.items():
                    found.setdefault(name, []).append(one)
    return found


def _root(path: Path) -> Path:
    """provisioning/, of a file of provisioning/recipes/."""
    return path.parent.parent


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())
