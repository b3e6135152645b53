"""Describes an API server's objects to a person: tables of pods and events, single nodes and pods.

Environments, arguments, annotations and volumes are left out, because these may have secrets. Not here: what becomes
of fields of another type, of long texts and of control characters (fields.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dayfly.drivers.kubernetes.fields import clean, mapping, mappings, number, reason, text
from dayfly.drivers.kubernetes.http import Object

_ITEMS: Final = 30
"""Of a pod's containers, an object's conditions, a node's taints, a pod's events."""
_STATUSES: Final = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


@dataclass(frozen=True)
class Container:
    """A container of a pod by its last status."""

    name: str
    image: str
    state: str
    """`waiting: REASON: MESSAGE`, `running since TIME`, `terminated: …`."""
    before: str
    """How the run before this one ended; empty: there was none."""
    ready: bool
    """Ready, or ended well."""
    restarts: int
    failed: bool
    """It ended with an exit code other than 0, now or before."""
    logs: Literal["current", "previous"] | None
    """The run whose log explains the state; None: it never ran."""


@dataclass(frozen=True)
class Pod:
    """What a report says of a pod."""

    namespace: str
    name: str
    node: str
    phase: str
    status: str
    """Reason and message of the pod itself, and whether it is being deleted."""
    created: str
    conditions: tuple[str, ...]
    containers: tuple[Container, ...]
    ready: bool
    """Ready, or ended well."""

    @property
    def summary(self) -> str:
        """Why the pod is not Ready, in one line."""
        if self.ready:
            return self.status
        parts = [self.status, *(f"{one.name}: {one.state}" for one in self.containers if not one.ready)]
        return clean("; ".join(filter(None, parts)) or "; ".join(self.conditions))


@dataclass(frozen=True)
class Event:
    """One event; `about` is its object as KIND NAMESPACE/NAME."""

    time: str
    line: str
    about: str


def read_pod(item: Object) -> Pod:
    metadata, status = mapping(item, "metadata"), mapping(item, "status")
    deleted = f"being deleted since {text(metadata, 'deletionTimestamp')}" if "deletionTimestamp" in metadata else ""
    conditions = mappings(status, "conditions", _ITEMS)
    is_ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    containers = [one for key in _STATUSES for one in mappings(status, key, _ITEMS)]
    return Pod(
        namespace=text(metadata, "namespace"),
        name=text(metadata, "name"),
        node=text(mapping(item, "spec"), "nodeName"),
        phase=text(status, "phase"),
        status="; ".join(filter(None, [reason(status), deleted])),
        created=text(metadata, "creationTimestamp"),
        conditions=tuple(map(_condition, conditions)),
        containers=tuple(map(_container, containers)),
        ready=status.get("phase") == "Succeeded" or is_ready,
    )


def read_event(item: Object) -> Event:
    about, series = mapping(item, "involvedObject"), mapping(item, "series")
    time = text(series, "lastObservedTime")
    if time == "-":
        time = text(item, "lastTimestamp", "eventTime", "firstTimestamp")
    count = number(series, "count") or number(item, "count")
    where = f"{text(about, 'kind')} {text(about, 'namespace')}/{text(about, 'name')}"
    times = f" ({count} times)" if count > 1 else ""
    return Event(time, f"{time} {text(item, 'type')} {where}: {reason(item)}{times}", where)


def pods_table(pods: Sequence[Pod]) -> list[str]:
    """A header, and a line for each pod."""
    rows = [("NAMESPACE", "NAME", "NODE", "PHASE", "READY", "RESTARTS", "REASON")]
    for pod in pods:
        ready = f"{sum(one.ready for one in pod.containers)}/{len(pod.containers)}"
        restarts = str(sum(one.restarts for one in pod.containers))
        rows.append((pod.namespace, pod.name, pod.node, pod.phase, ready, restarts, pod.summary))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]


def describe_pod(pod: Pod, events: Iterable[Event] | None) -> list[str]:
    """Lines about the pod: its conditions, its containers, and those of `events` that concern it (None: not known)."""
    about = [one.line for one in events or () if one.about == f"Pod {pod.namespace}/{pod.name}"]
    return [
        f"pod {pod.namespace}/{pod.name}",
        f"node {pod.node}, phase {pod.phase}, created {pod.created}",
        *([pod.status] if pod.status else []),
        *_section("conditions", pod.conditions),
        *_section("containers", (line for one in pod.containers for line in _describe_container(one))),
        *_section("events", ["not available"] if events is None else about[-_ITEMS:]),
    ]


def describe_node(item: Object, renewed: str) -> list[str]:
    """Lines about a node: its versions, conditions and taints. `renewed`: when its lease was renewed."""
    spec, status = mapping(item, "spec"), mapping(item, "status")
    info = mapping(status, "nodeInfo")
    taints = [
        f"{text(one, 'key')}={text(one, 'value')}:{text(one, 'effect')}" for one in mappings(spec, "taints", _ITEMS)
    ]
    return [
        f"node {name_of(item)}{' (unschedulable)' if spec.get('unschedulable') is True else ''}",
        f"kubelet {text(info, 'kubeletVersion')}, {text(info, 'containerRuntimeVersion')},"
        f" kernel {text(info, 'kernelVersion')}, boot {text(info, 'bootID')}",
        f"lease renewed: {renewed}",
        *_section("conditions", map(_condition, mappings(status, "conditions", _ITEMS))),
        *_section("taints", taints),
    ]


def name_of(item: Object) -> str:
    return text(mapping(item, "metadata"), "name")


def renewal_of(lease: Object) -> str:
    return text(mapping(lease, "spec"), "renewTime")


def _condition(item: Object) -> str:
    reported = f", reported {text(item, 'lastHeartbeatTime')}" if "lastHeartbeatTime" in item else ""
    since = text(item, "lastTransitionTime")
    return f"{text(item, 'type')} {text(item, 'status')} since {since}{reported} {reason(item)}".rstrip()


def _container(item: Object) -> Container:
    state, before = mapping(item, "state"), mapping(item, "lastState")
    ended, ended_before = mapping(state, "terminated"), mapping(before, "terminated")
    return Container(
        name=text(item, "name"),
        image=text(item, "image"),
        state=_state(state) or "no state yet",
        before=_state(before),
        ready=item.get("ready") is True or _ended_well(ended),
        restarts=number(item, "restartCount"),
        failed=any(one and not _ended_well(one) for one in (ended, ended_before)),
        # A container that waits for its restart has only the log of its run before.
        logs="previous" if ended_before and not ended else "current" if ended or "running" in state else None,
    )


def _ended_well(terminated: Object) -> bool:
    return terminated.get("exitCode") == 0


def _state(state: Object) -> str:
    if waiting := mapping(state, "waiting"):
        return f"waiting: {reason(waiting)}"
    if ended := mapping(state, "terminated"):
        signal = f", signal {number(ended, 'signal')}" if number(ended, "signal") else ""
        span = f"{text(ended, 'startedAt')} to {text(ended, 'finishedAt')}"
        return f"terminated: {reason(ended)} (exit code {number(ended, 'exitCode')}{signal}, {span})"
    return f"running since {text(mapping(state, 'running'), 'startedAt')}" if "running" in state else ""


def _describe_container(one: Container) -> Iterator[str]:
    yield f"{one.name} ({one.image}): {one.state}"
    yield f"  {'ready' if one.ready else 'not ready'}, restarts: {one.restarts}"
    if one.before:
        yield f"  before: {one.before}"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f"{title}:", *([f"  {line}" for line in lines] or ["  none"])]
