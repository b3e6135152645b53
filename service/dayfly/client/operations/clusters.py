"""The API as values: what to send, and how to read the answer. Both clients send these, so neither repeats the other.

A `Flow` is a conversation of several calls, written once as a generator: it yields calls and receives their results.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from dayfly.client.errors import ApiError, ClusterFailed, WaitTimeout
from dayfly.client.models import (
    Cluster,
    Event,
    Events,
    Heartbeat,
    Page,
    Port,
    PortList,
    Registry,
    Spec,
    Version,
)
from dayfly.client.node_models import Node, NodeList, SshAccess
from dayfly.client.operations.call import Call, Flow, Query, _text, model, path_of
from dayfly.client.request_models import ClusterChanges, ClusterRequest

Wait = Literal["ready", "hibernated", "settled", "deleted"]

DIAGNOSTICS_SECONDS: Final = 90.0
"""How long the server may collect what is to be known of a cluster."""
READY_SECONDS: Final = 1800.0
DELETED_SECONDS: Final = 300.0
HIBERNATED_SECONDS: Final = 600.0
HOLD_SECONDS: Final = 50.0
"""How long one request of a longer wait is held: less than what proxies cut."""


def create(request: ClusterRequest, idempotency_key: str | None) -> Call[Cluster]:
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    return Call("POST", "/v1/clusters", model(Cluster), json=request.body(), headers=headers)


def dry_run(request: ClusterRequest) -> Call[Spec]:
    return Call("POST", "/v1/clusters", model(Spec), {"dry_run": True}, json=request.body())


def get(cluster: str, *, wait: Wait | None = None, timeout_seconds: float = 0.0) -> Call[Cluster]:
    return Call("GET", path_of(cluster), model(Cluster), _wait(wait, timeout_seconds), hold_seconds=timeout_seconds)


def delete(cluster: str) -> Call[Cluster]:
    return Call("DELETE", path_of(cluster), model(Cluster))


def change(cluster: str, changes: ClusterChanges) -> Call[Cluster]:
    return Call("PATCH", path_of(cluster), model(Cluster), json=changes.body())


def heartbeat(cluster: str) -> Call[Heartbeat]:
    return Call("POST", path_of(cluster, "heartbeat"), model(Heartbeat))


def diagnostics(cluster: str) -> Call[bytes]:
    path = path_of(cluster, "diagnostics")
    return Call("GET", path, lambda response: response.content, hold_seconds=DIAGNOSTICS_SECONDS)


def page(
    labels: Mapping[str, str],
    phases: Sequence[str],
    owner: str | None,
    purposes: Sequence[str],
    limit: int,
    cursor: str | None,
) -> Call[Page]:
    pairs = [f"{key}={value}" for key, value in labels.items()]
    query: Query = {
        "label": pairs,
        "phase": list(phases),
        "owner": owner,
        "purpose": list(purposes),
        "limit": limit,
        "cursor": cursor,
    }
    return Call("GET", "/v1/clusters", model(Page), query)


def kubeconfig(cluster: str) -> Call[str]:
    return Call("GET", path_of(cluster, "kubeconfig"), _text)


def registry(cluster: str) -> Call[Registry]:
    return Call("GET", path_of(cluster, "registry"), model(Registry))


def nodes(cluster: str) -> Call[tuple[Node, ...]]:
    parse = model(NodeList)
    return Call("GET", path_of(cluster, "nodes"), lambda response: parse(response).nodes)


def ssh(cluster: str, node: str) -> Call[SshAccess]:
    return Call("GET", path_of(cluster, "nodes", node, "ssh"), model(SshAccess))


def console(cluster: str, node: str, tail_bytes: int) -> Call[str]:
    return Call("GET", path_of(cluster, "nodes", node, "console"), _text, {"tail_bytes": tail_bytes})


def follow_console(cluster: str, node: str, tail_bytes: int) -> Call[str]:
    query: Query = {"tail_bytes": tail_bytes, "follow": True}
    return Call("GET", path_of(cluster, "nodes", node, "console"), _text, query)


def ports(cluster: str) -> Call[tuple[Port, ...]]:
    parse = model(PortList)
    return Call("GET", path_of(cluster, "ports"), lambda response: parse(response).ports)


def evidence(cluster: str, name: str) -> Call[str]:
    return Call("GET", path_of(cluster, "evidence", name), _text)


def events(cluster: str, after: int, wait_seconds: float, limit: int = 500) -> Call[Events]:
    query: Query = {"after": after, "limit": limit, "wait": wait_seconds}
    return Call("GET", path_of(cluster, "events"), model(Events), query, hold_seconds=wait_seconds)


def version() -> Call[Version]:
    return Call("GET", "/v1/version", model(Version))


def list_all(
    labels: Mapping[str, str], phases: Sequence[str], owner: str | None, purposes: Sequence[str]
) -> Flow[tuple[Cluster, ...]]:
    """All pages."""
    found: list[Cluster] = []
    cursor: str | None = None
    while True:
        part: Page = yield page(labels, phases, owner, purposes, 500, cursor)
        found += part.clusters
        cursor = part.next_cursor
        if cursor is None:
            return tuple(found)


def all_events(cluster: str) -> Flow[tuple[Event, ...]]:
    """All events so far."""
    found: list[Event] = []
    after = 0
    while True:
        part: Events = yield events(cluster, after, 0.0)
        if not part.events:
            return tuple(found)
        found += part.events
        after = part.next_after


def wait_ready(cluster: str, timeout_seconds: float) -> Flow[Cluster]:
    """Until it is ready. Raises ClusterFailed, WaitTimeout."""
    seen = yield from wait_until(cluster, "ready", timeout_seconds)
    if seen.phase != "ready" or seen.desired != "present":
        raise ClusterFailed(seen)
    return seen


def wait_deleted(cluster: str, timeout_seconds: float) -> Flow[None]:
    """Until nothing is left of it; a cluster that is not there is deleted. Raises WaitTimeout."""
    try:
        first: Cluster = yield get(cluster)
        # By its id: the name is free for another as soon as this one is gone.
        yield from wait_until(first.id, "deleted", timeout_seconds)
    except ApiError as error:
        if error.code != "not_found":
            raise


def is_over(cluster: Cluster, wanted: Wait) -> bool:
    """Whether waiting has an end: it is so, or can no more become so. As the server sees it."""
    if wanted == "deleted" or cluster.phase == "deleted":
        return cluster.phase == "deleted"
    if cluster.desired == "absent":
        return wanted != "settled"
    if cluster.phase == "failed":
        return True
    ready, asleep = cluster.phase == "ready" and cluster.reset_to is None, cluster.phase == "hibernated"
    match wanted:
        case "ready":
            return ready or cluster.desired == "hibernated"
        case "hibernated":
            return asleep or cluster.desired == "present"
        case "settled":
            return ready if cluster.desired == "present" else asleep


def wait_until(cluster: str, wanted: Wait, timeout_seconds: float) -> Flow[Cluster]:
    """Until it is so, or can no more become so. Raises WaitTimeout."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        remaining = max(0.0, deadline - time.monotonic())
        seen: Cluster = yield get(cluster, wait=wanted, timeout_seconds=min(remaining, HOLD_SECONDS))
        if is_over(seen, wanted):
            return seen
        if remaining <= 0:
            raise WaitTimeout(seen, wanted, timeout_seconds)
        cluster = seen.id


def _wait(wait: Wait | None, timeout_seconds: float) -> Query:
    return {} if wait is None else {"wait": wait, "timeout": timeout_seconds}


def reset(cluster: str, checkpoint: str | None) -> Call[Cluster]:
    to: Mapping[str, object] = {"to": "pristine" if checkpoint is None else {"checkpoint": checkpoint}}
    return Call("POST", path_of(cluster, "reset"), model(Cluster), json=to)


def hibernate(cluster: str) -> Call[Cluster]:
    return Call("POST", path_of(cluster, "hibernate"), model(Cluster))


def resume(cluster: str) -> Call[Cluster]:
    return Call("POST", path_of(cluster, "resume"), model(Cluster))


def wait_hibernated(cluster: str, timeout_seconds: float) -> Flow[Cluster]:
    """Until it is hibernated. Raises ClusterFailed, WaitTimeout."""
    seen = yield from wait_until(cluster, "hibernated", timeout_seconds)
    if seen.phase != "hibernated" or seen.desired != "hibernated":
        raise ClusterFailed(seen)
    return seen
