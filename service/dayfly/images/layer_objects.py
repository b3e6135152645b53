"""The add-ons in a layer: those that its recipe names, and one of its manifests. Pure but for reading provisioning/.

They are in the image's label, and so in every container's of a cluster: hence the limit.
Not here: add-ons that callers choose (addon_files.py), how objects reach a cluster (steps/addons.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from dayfly.addon_files import load_addons
from dayfly.domain.addon import LABEL_ADDON, Addon, identity, select_addons
from dayfly.domain.addon_objects import workload_paths
from dayfly.errors import InvalidRequest
from dayfly.images.layer_recipe import Layer

_LIMIT_BYTES: Final = 64 * 1024


def layer_addons(recipe: str, layer: Layer, root: Path) -> tuple[Addon, ...]:
    """Each after those that it needs. Raises InvalidRequest, and FileNotFoundError for a manifest."""
    known = load_addons(root) if layer.addons else {}
    chosen = select_addons(layer.addons, known)
    for addon in chosen:
        if addon.pulled is not None:
            raise InvalidRequest(f"recipe {recipe}: the add-on {addon.name} is pulled: clusters get it by request only")
    found = tuple(addon.of_cluster() for addon in chosen)
    if layer.manifests:
        if recipe in load_addons(root):
            raise InvalidRequest(f"recipe {recipe} has manifests, and the name of an add-on: choose another name")
        found = (*found, _own(recipe, layer, root))
    elif layer.ready_paths:
        raise InvalidRequest(f"recipe {recipe} has ready_paths, but no manifests")
    size = len(json.dumps([addon.model_dump(mode="json") for addon in found]))
    if size > _LIMIT_BYTES:
        raise InvalidRequest(
            f"recipe {recipe}: its add-ons have {size} bytes, more than the {_LIMIT_BYTES} of an image"
        )
    return found


def _own(recipe: str, layer: Layer, root: Path) -> Addon:
    """The add-on of the recipe's manifests."""
    objects = tuple(item for file in layer.manifests for item in _objects(recipe, file, root))
    if len(set(map(identity, objects))) < len(objects):
        raise InvalidRequest(f"recipe {recipe}: two of its manifests describe the same object")
    paths = tuple(dict.fromkeys((*workload_paths(objects), *layer.ready_paths)))
    if not paths:
        raise InvalidRequest(f"recipe {recipe}: nothing proves that its manifests work: add ready_paths")
    return Addon(name=recipe, needs=layer.addons, objects=objects, ready_paths=paths)


def _objects(recipe: str, file: str, root: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all((root / file).read_text()))
        json.dumps(documents)
    except (UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        raise InvalidRequest(f"recipe {recipe}: {file} cannot be read: {' '.join(str(error).split())}") from error
    for item in documents:
        if item is None:
            continue
        metadata = item.get("metadata") if isinstance(item, dict) else None
        named = metadata if isinstance(metadata, dict) else {}
        texts = (item.get("apiVersion"), item.get("kind"), named.get("name")) if isinstance(item, dict) else ("",)
        if not all(isinstance(text, str) and text for text in texts):
            raise InvalidRequest(f"recipe {recipe}: {file} has a document that is not a Kubernetes object with a name")
        labels = {**(named.get("labels") or {}), LABEL_ADDON: recipe}
        yield {**item, "metadata": {**named, "labels": labels}}
