"""An add-on: objects that a cluster gets beside those of its image, what it needs, and what proves that it works. Pure.

Not here: the files of add-ons (addon_files.py), and how their objects reach a cluster (steps/addons.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from dayfly.domain.addon_source import PulledSource
from dayfly.errors import InvalidRequest
from dayfly.vocabulary import AddonSource, AddonState

LABEL_ADDON: Final = "dayfly.addon"
"""The label of an add-on's objects; its value is the add-on's name. Other objects are never changed or deleted."""


class Addon(BaseModel):
    """An add-on of one cluster, stored with its specification: a change of the files does not change a cluster."""

    model_config = ConfigDict(frozen=True)

    name: str
    needs: tuple[str, ...] = ()
    objects: tuple[dict[str, Any], ...] = ()
    """Kubernetes objects in order of creation; of an add-on that was removed, their reference()."""
    ready_paths: tuple[str, ...] = ()
    """Paths of the API server that succeed when the add-on works; that of a workload, when this is available."""


class AddonDefinition(Addon):
    """An add-on that this Dayfly knows. `recipes`: the node images that can run it.

    These have its container images, `images`; or, with `pulled`, nodes pull them, and `objects` are but the folder's.
    """

    description: str
    recipes: tuple[str, ...]
    images: tuple[str, ...] = ()
    pulled: PulledSource | None = None

    @property
    def source(self) -> AddonSource:
        return AddonSource.PULLED if self.pulled else AddonSource.BAKED

    @property
    def version(self) -> str | None:
        """That of the project that a pulled add-on comes from."""
        return self.pulled.version if self.pulled else None

    def of_cluster(self) -> Addon:
        """The part that is stored with a cluster."""
        return Addon(name=self.name, needs=self.needs, objects=self.objects, ready_paths=self.ready_paths)


@dataclass(frozen=True)
class AddonError:
    """Why an add-on does not work, or cannot be removed."""

    code: str
    message: str


@dataclass(frozen=True)
class AddonStatus:
    """The state of one add-on. `error`: the worker gave up; only a request of a caller makes it try again."""

    name: str
    state: AddonState
    error: AddonError | None = None

    @property
    def is_due(self) -> bool:
        """Whether a worker must install or remove it."""
        return self.state in {AddonState.PENDING, AddonState.REMOVING} and self.error is None


def select_addons(names: Iterable[str], known: Mapping[str, AddonDefinition]) -> tuple[AddonDefinition, ...]:
    """The add-ons called `names`, and those that they need, each after its needs. Raises InvalidRequest."""
    chosen: dict[str, AddonDefinition] = {}

    def choose(name: str) -> None:
        if name in chosen:
            return
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise InvalidRequest(f"addons: there is no add-on {name!r}; there are: {there}")
        for need in known[name].needs:
            choose(need)
        chosen[name] = known[name]

    for name in names:
        choose(name)
    return tuple(chosen.values())


def needed_by(addons: Iterable[Addon]) -> dict[str, tuple[str, ...]]:
    """Add-on → those of `addons` that need it, which are removed before it."""
    there = tuple(addons)
    return {addon.name: tuple(other.name for other in there if addon.name in other.needs) for addon in there}


def identity(item: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What makes two manifests the same object, whatever their version: group, kind, namespace, name."""
    group = item["apiVersion"].rpartition("/")[0]
    metadata = item["metadata"]
    return group, item["kind"], metadata.get("namespace", ""), metadata["name"]


def title(item: Mapping[str, Any]) -> str:
    """KIND NAMESPACE/NAME, for people."""
    metadata = item["metadata"]
    return f"{item['kind']} {'/'.join(filter(None, (metadata.get('namespace'), metadata['name'])))}"


def reference(item: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest that names the object."""
    metadata = {name: item["metadata"][name] for name in ("name", "namespace") if name in item["metadata"]}
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}


def former_addons(former: Sequence[Addon], old: Sequence[Addon], new: Sequence[Addon]) -> tuple[Addon, ...]:
    """The references of all objects of `former` and `old` add-ons that are not objects of `new` ones."""
    kept = {identity(item) for addon in new for item in addon.objects}
    found: dict[str, Addon] = {}
    for addon in (*former, *old):
        before = found.get(addon.name, Addon(name=addon.name))
        own = {identity(item): item for item in before.objects}
        own |= {identity(item): reference(item) for item in addon.objects if identity(item) not in kept}
        found[addon.name] = Addon(name=addon.name, needs=addon.needs, objects=tuple(own.values()))
    return tuple(addon for addon in found.values() if addon.objects)


# The states of a cluster's add-ons, in the order of its specification; then those that are being removed.


def pending(addons: Iterable[Addon]) -> tuple[AddonStatus, ...]:
    """The states in a cluster that begins."""
    return tuple(AddonStatus(addon.name, AddonState.PENDING) for addon in addons)


def begun_again(states: Sequence[AddonStatus]) -> tuple[AddonStatus, ...]:
    """The states when machines are made from another source: nothing was seen yet. Those that failed stay so."""
    begun = {AddonState.READY: AddonState.PENDING}
    return tuple(AddonStatus(one.name, begun.get(one.state, one.state), one.error) for one in states)


def as_ready(states: Sequence[AddonStatus]) -> tuple[AddonStatus, ...]:
    """The states after such machines became ready: their steps installed what was pending, and removed the rest."""
    kept = (one for one in states if one.state is not AddonState.REMOVING)
    made = {AddonState.PENDING: AddonState.READY}
    return tuple(AddonStatus(one.name, made.get(one.state, one.state), one.error) for one in kept)


def as_failed(states: Sequence[AddonStatus], name: str, error: AddonError) -> tuple[AddonStatus, ...]:
    """The states after the add-on `name` failed; one that cannot be removed is still being removed."""

    def failed(one: AddonStatus) -> AddonStatus:
        state = one.state if one.state is AddonState.REMOVING else AddonState.FAILED
        return AddonStatus(name, state, error)

    return tuple(failed(one) if one.name == name else one for one in states)


def after_request(states: Sequence[AddonStatus], wanted: Sequence[Addon]) -> tuple[AddonStatus, ...]:
    """The states after a request for exactly the add-ons `wanted`. Those that failed are tried again."""
    names = {addon.name for addon in wanted}
    ready = {one.name for one in states if one.state is AddonState.READY}
    here = (AddonStatus(a.name, AddonState.READY if a.name in ready else AddonState.PENDING) for a in wanted)
    going = (AddonStatus(one.name, AddonState.REMOVING) for one in states if one.name not in names)
    return (*here, *going)
