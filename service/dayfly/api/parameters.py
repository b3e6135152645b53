"""Parameters that several routes share: the cluster of the path, how long to hold an answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Path, Query, Request

from dayfly.api.dependencies import Services
from dayfly.api.long_poll import MAX_SECONDS
from dayfly.api.principals import Caller
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.cluster.spec import Node
from dayfly.domain.security.principal import Principal, Reference
from dayfly.errors import Conflict, InvalidRequest, NotFound
from dayfly.schemas.base import CLUSTER_HEADER
from dayfly.schemas.cluster_requests import MAX_LABELS
from dayfly.schemas.texts import LINE, UNPRINTABLE, is_line

_ID_OR_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def path_id(kind: str, description: str) -> Callable[[Principal, str], Awaitable[Reference]]:
    """A dependency: the id or name in the path parameter `{kind}`, among those that the caller finds.

    Raises NotFound for an invalid id or name.
    """

    # A default, not an annotation: FastAPI evaluates annotations outside this function.
    async def id_or_name(caller: Caller, given: str = Path(alias=kind, description=description)) -> Reference:
        if not _ID_OR_NAME.fullmatch(given):
            raise NotFound(f"no {kind} has this id or name: it is not a valid id or name")
        return Reference(given, caller.scope)

    return id_or_name


IdOrName = Annotated[
    Reference, Depends(path_id("cluster", "A cluster's id, or the name of a cluster that is not deleted."))
]
"""The path's id or name, for routes that need one statement of the store. 404 for an invalid id or name."""


def name_cluster(request: Request, cluster: Cluster) -> None:
    """Let the response say which cluster it is about: its body does not, and a client compares."""
    request.state.response_headers = {CLUSTER_HEADER: f"{cluster.id} {cluster.name}"}


async def _cluster(request: Request, services: Services, cluster: IdOrName) -> Cluster:
    found = await services.store.clusters.get(cluster)
    name_cluster(request, found)
    return found


TheCluster = Annotated[Cluster, Depends(_cluster)]
"""The path's cluster, or 404."""


def _callers_cluster(cluster: TheCluster) -> Cluster:
    # Whoever has a pool member's keys before a claim would be root in the claimer's cluster.
    if cluster.purpose is not Purpose.CLUSTER:
        whose = f"cluster {cluster.name} belongs to a template or a pool"
        raise Conflict(f"{whose}: its SSH, consoles, kubeconfig, registry and ports are not available")
    return cluster


CallersCluster = Annotated[Cluster, Depends(_callers_cluster)]
"""The path's cluster; 404, or 409 for a cluster of a template or a pool."""


def _node(cluster: TheCluster, node: Annotated[str, Path(description="`node01`, …")]) -> Node:
    found = cluster.spec.node(node)
    if found is None:
        raise NotFound(
            f"cluster {cluster.name} has no such node: its nodes are node01 to {cluster.spec.nodes()[-1].name}"
        )
    return found


TheNode = Annotated[Node, Depends(_node)]
"""The path's node, or 404."""

Timeout = Annotated[
    float,
    Query(
        alias="timeout",
        ge=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="With `wait`: seconds to hold the response, which then shows the present state. If the service "
        "holds as many responses as it may, a GET gets 503 `too_many_waits`, and where it holds as many as the team's "
        "quota allows, 429 `long_polls_exceeded`; another request gets its response at once.",
    ),
]


Labels = Annotated[
    list[Annotated[str, Query(json_schema_extra={"pattern": rf"^[^={UNPRINTABLE}]+={LINE}$"})]],
    Query(max_length=MAX_LABELS, description="`key=value`; clusters that have all given labels."),
]


def parse_labels(pairs: list[str]) -> dict[str, str]:
    """The labels that clusters must have, of parameters `key=value`. Raises InvalidRequest."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals) or not is_line(pair):
            raise InvalidRequest("label: write it as key=value")
        if labels.setdefault(key, value) != value:
            raise InvalidRequest(f"label: two values for {key!r}; a cluster has one value for each key")
    return labels
