"""The objects of a pulled add-on, made of its manifests: selected, labelled, with images by digest, in order. Pure.

Not here: what the add-on consists of (addon_source.py), the files' texts (addon_manifests.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dayfly.domain.addon import LABEL_ADDON, identity
from dayfly.domain.addon_source import PinnedImage, PinnedManifest, PulledSource
from dayfly.errors import InvalidRequest

Object = dict[str, Any]

_OF_THE_CLUSTER: Final = frozenset(
    {
        *(
            "Namespace",
            "CustomResourceDefinition",
            "ClusterRole",
            "ClusterRoleBinding",
            "PriorityClass",
            "StorageClass",
        ),
        *("PodSecurityPolicy", "APIService", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
    }
)
"""Kinds without a namespace, of those that manifests have."""

_WORKLOADS: Final = {"Deployment": "deployments", "DaemonSet": "daemonsets", "StatefulSet": "statefulsets"}
_DEFINITION: Final = "CustomResourceDefinition"
_RANKS: Final = (
    {"Namespace"},
    {_DEFINITION},
    {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
    {"PriorityClass", "StorageClass", "PodSecurityPolicy", "ConfigMap", "Secret", "PersistentVolumeClaim"},
    {"Service"},
    {*_WORKLOADS, "Job", "CronJob", "Pod", "PodDisruptionBudget", "HorizontalPodAutoscaler"},
    {"APIService"},
    {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"},
)
"""The order of creation by kind; objects of other kinds, those of definitions above all, come last. The API server
lists the kind of a definition once it is established, and a kind that is not listed is waited for."""


def compose(
    name: str, source: PulledSource, documents: Sequence[Iterable[Any]], own: Sequence[Object]
) -> tuple[Object, ...]:
    """All objects of the add-on `name` in order of creation: those of its manifests' `documents`, then its `own`.

    Raises InvalidRequest where a manifest is not what addon.yaml says: a selected object is missing, or an image has no
    digest.
    """
    found: list[Object] = []
    for manifest, texts in zip(source.manifests, documents, strict=True):
        selected = _selected(manifest, list(_objects(manifest.url, texts)))
        found.extend(_in_namespace(manifest.namespace, item) for item in selected)
    prepared = [_prepared(name, source.images, item) for item in (*found, *own)]
    if len(set(map(identity, prepared))) < len(prepared):
        raise InvalidRequest(f"addons/{name}: two objects of its manifests and files are the same")
    return tuple(sorted(prepared, key=_rank))


def workload_paths(objects: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The paths of the API server of all workloads, which count as ready when they are available."""
    return tuple(
        f"/apis/{item['apiVersion']}/namespaces/{item['metadata'].get('namespace', 'default')}"
        f"/{_WORKLOADS[item['kind']]}/{item['metadata']['name']}"
        for item in objects
        if item["kind"] in _WORKLOADS
    )


def _rank(item: Object) -> int:
    return next((rank for rank, kinds in enumerate(_RANKS) if item["kind"] in kinds), len(_RANKS))


def _objects(url: str, documents: Iterable[Any]) -> Iterator[Object]:
    for item in documents:
        if item is None:
            continue
        if isinstance(item, dict) and item.get("kind") == "List" and isinstance(item.get("items"), list):
            yield from _objects(url, item["items"])
            continue
        metadata = item.get("metadata") if isinstance(item, dict) else None
        texts = (item.get("apiVersion"), item.get("kind")) if isinstance(item, dict) else ()
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not all(isinstance(text, str) and text for text in (*texts, name)):
            raise InvalidRequest(f"{url} has a document that is not a Kubernetes object with a name")
        yield item


def _selected(manifest: PinnedManifest, found: list[Object]) -> list[Object]:
    if not manifest.only:
        return found
    titles = [f"{item['kind']} {item['metadata']['name']}" for item in found]
    if missing := [one for one in manifest.only if one not in titles]:
        raise InvalidRequest(f"{manifest.url} has no {', '.join(missing)}")
    return [item for item, title in zip(found, titles, strict=True) if title in manifest.only]


def _in_namespace(namespace: str | None, item: Object) -> Object:
    metadata = item["metadata"]
    if namespace is None or metadata.get("namespace") or item["kind"] in _OF_THE_CLUSTER:
        return item
    return {**item, "metadata": {**metadata, "namespace": namespace}}


def _prepared(name: str, images: Sequence[PinnedImage], item: Object) -> Object:
    """With the label of the add-on, images by digest, and without what only the API server writes."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "creationTimestamp"}
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL_ADDON: name}
    kept = {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}
    if item["kind"] == _DEFINITION:
        return {key: _undescribed(value) for key, value in kept.items()}
    pins = {image.name: image.reference for image in images} | {image.reference: image.reference for image in images}
    pinned: Object = _pinned(kept, pins)
    for found in _images_of(pinned):
        if found not in pins.values():
            title = f"{item['kind']} {metadata['name']}"
            raise InvalidRequest(f"addons/{name}: {title} has the image {found}, for which addon.yaml has no digest")
    return pinned


def _pinned(value: Any, pins: Mapping[str, str]) -> Any:
    """Also texts elsewhere that are an image's name: operators get the images of their pods in variables."""
    if isinstance(value, str):
        return pins.get(value, value)
    if isinstance(value, dict):
        return {key: _pinned(inner, pins) for key, inner in value.items()}
    if isinstance(value, list):
        return [_pinned(inner, pins) for inner in value]
    return value


def _images_of(value: Any) -> Iterator[str]:
    """The container images in an object, wherever they are."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image" and isinstance(inner, str):
                yield inner
            else:
                yield from _images_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _images_of(inner)


def _undescribed(value: Any) -> Any:
    """A definition without the schemas' descriptions: three quarters of it, and every cluster's record has it."""
    if isinstance(value, dict):
        shown = ((key, inner) for key, inner in value.items() if not (key == "description" and isinstance(inner, str)))
        return {key: _undescribed(inner) for key, inner in shown}
    if isinstance(value, list):
        return [_undescribed(inner) for inner in value]
    return value
