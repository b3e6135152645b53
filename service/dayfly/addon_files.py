"""Reads provisioning/addons/NAME/addon.yaml and the objects beside it.

The node images of an add-on's recipes have all of its container images: no add-on is pulled from a registry.
Not here: rules of add-ons (domain/addon.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dayfly import assets
from dayfly.domain.addon import LABEL_ADDON, AddonDefinition, identity
from dayfly.errors import InvalidRequest
from dayfly.vocabulary import ADDON_NAME


class _File(BaseModel):
    """addon.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^(?:{ADDON_NAME.pattern})$")
    description: str = Field(min_length=1)
    recipes: tuple[str, ...] = Field(min_length=1)
    """Recipes of node images that have its container images."""
    needs: tuple[str, ...] = ()
    """Other add-ons, which are installed first."""
    images: tuple[str, ...] = ()
    """Its container images."""
    objects: tuple[str, ...] = Field(min_length=1)
    """Files of its folder, one object each, in order of creation."""
    ready_paths: tuple[str, ...] = Field(min_length=1)
    """GETs of the API server that succeed when the add-on works."""


def load_addons(root: Path | None = None) -> Mapping[str, AddonDefinition]:
    """All add-ons below provisioning/addons, by name. Raises InvalidRequest where one is not valid."""
    folder = (root or assets.provisioning()) / "addons"
    found = {path.parent.name: _load(path.parent) for path in sorted(folder.glob("*/addon.yaml"))}
    for addon in found.values():
        _check_needs(addon, found, ())
    return found


def _check_needs(addon: AddonDefinition, known: Mapping[str, AddonDefinition], path: tuple[str, ...]) -> None:
    if addon.name in path:
        raise InvalidRequest(f"add-ons need each other: {' → '.join((*path, addon.name))}")
    for need in addon.needs:
        if need not in known:
            raise InvalidRequest(f"addons/{addon.name} needs {need}, which is not an add-on")
        _check_needs(known[need], known, (*path, addon.name))


def _load(folder: Path) -> AddonDefinition:
    name = f"addons/{folder.name}"
    given = _yaml(folder / "addon.yaml", name)
    try:
        file = _File.model_validate(given)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidRequest(f"{name}/addon.yaml is not a valid add-on: {why}") from error
    if file.name != folder.name:
        raise InvalidRequest(f"{name}/addon.yaml has the name {file.name!r}, which must be {folder.name!r}")
    objects = tuple(_object(folder, one, file.name) for one in file.objects)
    if len(set(map(identity, objects))) < len(objects):
        raise InvalidRequest(f"{name}: two files describe the same object")
    return AddonDefinition(**file.model_dump(exclude={"objects"}), objects=objects)


def _object(folder: Path, file: str, addon: str) -> dict[str, Any]:
    name = f"addons/{folder.name}/{file}"
    path = folder / file
    if path.parent != folder or not path.is_file():
        raise InvalidRequest(f"{name}, which addon.yaml names, is not a file of the add-on")
    item = _yaml(path, name)
    if not isinstance(item, dict):
        raise InvalidRequest(f"{name} is not one Kubernetes object")
    metadata = item.get("metadata")
    own = metadata if isinstance(metadata, dict) else {}
    texts = {"apiVersion": item.get("apiVersion"), "kind": item.get("kind"), "metadata.name": own.get("name")}
    for field, value in texts.items():
        if not isinstance(value, str) or not value:
            raise InvalidRequest(f"{name} has no {field}")
    labels = own.get("labels")
    if not isinstance(labels, dict) or labels.get(LABEL_ADDON) != addon:
        raise InvalidRequest(f"{name} has not the label {LABEL_ADDON}: {addon}")
    try:
        json.dumps(item)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name} has a value that is not JSON: {error}") from error
    return item


def _yaml(path: Path, name: str) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{name} cannot be read: {' '.join(str(error).split())}") from error
