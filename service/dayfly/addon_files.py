"""Reads provisioning/addons/NAME/addon.yaml and the objects beside it.

Add-ons are `baked`: the node images of their recipes have all of their container images. Or they are `pulled`: they
name files and images that others made, each by its digest.
Not here: rules of add-ons (domain/addon.py), the files that pulled ones name (addon_manifests.py).
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
from dayfly.domain.addon_source import PulledSource
from dayfly.errors import InvalidRequest
from dayfly.vocabulary import ADDON_NAME, AddonSource


class _File(BaseModel):
    """addon.yaml of any add-on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^(?:{ADDON_NAME.pattern})$")
    description: str = Field(min_length=1)
    source: AddonSource = AddonSource.BAKED
    recipes: tuple[str, ...] = Field(min_length=1)
    """Recipes of node images that can run it."""
    needs: tuple[str, ...] = ()
    """Other add-ons, which are installed first."""


class _Baked(_File):
    images: tuple[str, ...] = ()
    """Its container images, which the node images have."""
    objects: tuple[str, ...] = Field(min_length=1)
    """Files of its folder, one object each, in order of creation."""
    ready_paths: tuple[str, ...] = Field(min_length=1)
    """GETs of the API server that succeed when the add-on works."""

    @property
    def content(self) -> dict[str, Any]:
        return {"images": self.images}


class _Pulled(_File):
    version: Any
    kubernetes: Any
    images: Any
    manifests: Any
    """These four: domain/addon_source.py."""
    objects: tuple[str, ...] = ()
    """Files of its folder, beside the objects of its manifests; each after those of its kind."""
    ready_paths: tuple[str, ...] = ()
    """GETs that succeed when it works, or paths of workloads that are available then. Its own workloads are added."""

    @property
    def content(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in PulledSource.model_fields}
        source = PulledSource.model_validate(own)
        return {"images": tuple(one.reference for one in source.images), "pulled": source}


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
    form = _Pulled if isinstance(given, dict) and given.get("source") == AddonSource.PULLED else _Baked
    try:
        file = form.model_validate(given)
        content = file.content
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidRequest(f"{name}/addon.yaml is not a valid add-on: {why}") from error
    if file.name != folder.name:
        raise InvalidRequest(f"{name}/addon.yaml has the name {file.name!r}, which must be {folder.name!r}")
    objects = tuple(_object(folder, one, file.name) for one in file.objects)
    if len(set(map(identity, objects))) < len(objects):
        raise InvalidRequest(f"{name}: two files describe the same object")
    common = {key: getattr(file, key) for key in ("name", "description", "recipes", "needs", "ready_paths")}
    return AddonDefinition(**common, **content, objects=objects)


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
