"""/v1/clusters: create, list, get, delete. A request is recorded in a row; a worker (controllers/) carries it out.

Not here: updates of an existing cluster (routes_update.py).
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response

from dayfly.api.clusters.cluster_response import show
from dayfly.api.clusters.presenter import show_hold, show_spec, show_summary
from dayfly.api.clusters.queue_position import queue_positions
from dayfly.api.clusters.spec_resolver import resolve_spec
from dayfly.api.clusters.ttl import allowed_hold
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.long_poll import wait_for_cluster
from dayfly.api.parameters import IdOrName, TheCluster, Timeout
from dayfly.api.queue_cache import NOT_QUEUED
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.errors import InvalidRequest, NameTaken, NotFound
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER, ClusterRequest
from dayfly.schemas.clusters import Cluster, ClusterList, DryRun
from dayfly.store import IdempotencyKey, NewCluster
from dayfly.vocabulary import WaitFor

router: Final = APIRouter(prefix="/v1/clusters", tags=["clusters"])

_ADDED_FIELDS: Final = ("isolation", "idle_seconds")
"""Since there are idempotency keys: left out of a fingerprint where they are not given."""

Wait = Annotated[
    WaitFor | None,
    Query(
        description="Hold the answer until the cluster is `ready` (or can no more become so: failed, or something "
        "else was asked for; one that is still to be reset is not ready), `hibernated` (or no more to be so), "
        "`settled` (ready or failed; hibernated or deleted where that was asked for), or `deleted`."
    ),
]


@router.post(
    "",
    operation_id="createCluster",
    status_code=202,
    response_model=Cluster,
    responses={
        200: {"description": "With `dry_run`: what the cluster would be.", "model": DryRun},
        201: {
            "description": "It is ready at once: it was a pool's member, or was made by an earlier request with the "
            "same key.",
            "model": Cluster,
            "headers": {"Location": {"description": "Where to look for it.", "schema": {"type": "string"}}},
        },
        202: {
            "description": "Accepted. The cluster is being made.",
            "headers": {"Location": {"description": "Where to look for it.", "schema": {"type": "string"}}},
        },
    },
)
async def create_cluster(
    wanted: ClusterRequest,
    response: Response,
    services: Services,
    dry_run: Annotated[bool, Query(description="Check everything and make nothing.")] = False,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="A request repeated with the same key and body answers with the cluster that the first one "
            "made; with another body it is refused (idempotency_key_reused).",
        ),
    ] = None,
) -> Cluster | Response:
    """Ask for a cluster. It is answered at once; wait with `GET /v1/clusters/{cluster}?wait=ready`."""
    key = IdempotencyKey(idempotency_key, _fingerprint(wanted)) if idempotency_key else None
    if key is not None and not dry_run and (made := await services.store.find_by_idempotency_key(key)) is not None:
        # Before anything is checked: a retry gets its cluster even if the image has gone since.
        return await _accepted(made, response, services, created=False)
    hold = allowed_hold(wanted.hold, services)
    spec = await resolve_spec(wanted, services)
    if dry_run:
        await _check_name_is_free(wanted.name, services)
        shown = DryRun(name=wanted.name, owner=wanted.owner, hold=show_hold(hold), **dict(show_spec(spec)))
        return Response(shown.model_dump_json(), media_type="application/json")
    factor = await _memory_factor(spec, wanted.owner, services)
    new = NewCluster(name=wanted.name, spec=spec, owner=wanted.owner, hold=hold, memory_factor=factor)
    cluster, created = await services.store.create_cluster(new, key)
    return await _accepted(cluster, response, services, created=created)


async def _memory_factor(spec: ClusterSpec, owner: str, services: ApiServices) -> float:
    """Only what will be a fork is counted as one: made from nothing, a cluster has all its memory to itself."""
    if services.fork_memory_overcommit == 1.0 or spec.isolation == "strict":
        return 1.0
    template = await services.store.find_template(await services.template_key_of(spec, owner), owner)
    return 1.0 if template is None else services.fork_memory_overcommit


async def _accepted(cluster: domain.Cluster, response: Response, services: ApiServices, *, created: bool) -> Cluster:
    response.headers["Location"] = f"/v1/clusters/{cluster.id}"
    if cluster.phase is Phase.READY and cluster.desired is Desired.PRESENT:
        response.status_code = 201
    if not created:
        response.headers["Idempotency-Replayed"] = "true"
    return await show(cluster, services)


@router.get(
    "",
    operation_id="listClusters",
    responses={
        200: {
            "headers": {"Link": {"description": 'The next page, rel="next".', "schema": {"type": "string"}}},
        }
    },
)
async def list_clusters(
    request: Request,
    response: Response,
    services: Services,
    label: Annotated[list[str], Query(description="`key=value`; a cluster must have all that are given.")] = [],  # noqa: B006
    phase: Annotated[list[Phase], Query(description="Any of those that are given. Left out: all but `deleted`.")] = [],  # noqa: B006
    owner: Annotated[str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Only this owner's.")] = None,
    purpose: Annotated[
        list[Purpose],
        Query(description="Any of those that are given. Left out: callers' clusters, none of templates and pools."),
    ] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, pattern=r"^[\x21-\x7e]+$")] = None,
) -> ClusterList:
    """Clusters, newest first."""
    page = await services.store.list_clusters(
        labels=_parse_labels(label),
        phases=phase,
        owner=owner,
        purposes=purpose or {Purpose.CLUSTER},
        limit=limit,
        cursor=cursor,
    )
    if page.next_cursor is not None:
        following = request.url.include_query_params(cursor=page.next_cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    found = await queue_positions(page.clusters, services)
    shown = tuple(show_summary(one, found.get(one.id, NOT_QUEUED)) for one in page.clusters)
    return ClusterList(clusters=shown, next_cursor=page.next_cursor)


@router.get("/{cluster}", operation_id="getCluster")
async def get_cluster(
    request: Request, services: Services, cluster: TheCluster, wait: Wait = None, timeout_seconds: Timeout = 300.0
) -> Cluster:
    """One cluster, at once or when it is as wanted."""
    if wait is not None:
        cluster = await wait_for_cluster(request, services, cluster, wait, timeout_seconds)
    return await show(cluster, services)


@router.delete("/{cluster}", operation_id="deleteCluster", status_code=202)
async def delete_cluster(
    request: Request,
    services: Services,
    cluster: IdOrName,
    wait: Annotated[WaitFor | None, Query(description="`deleted`: hold the answer until it is gone.")] = None,
    timeout_seconds: Timeout = 300.0,
) -> Cluster:
    """Ask for a cluster to be deleted, whatever it is doing. Asking again does no harm."""
    if wait not in {None, "deleted"}:
        raise InvalidRequest("wait: a deletion can be waited for with 'deleted' only")
    wished = await services.store.request_deletion(cluster)
    if wait is not None:
        wished = await wait_for_cluster(request, services, wished, wait, timeout_seconds)
    return await show(wished, services)


async def _check_name_is_free(name: str | None, services: ApiServices) -> None:
    if name is None:
        return
    try:
        await services.store.get_cluster(name)
    except NotFound:
        return
    raise NameTaken(f"there is a cluster called {name}")


def _fingerprint(wanted: ClusterRequest) -> str:
    """The same for every way to write the same wish, and for releases that had not all of its fields."""
    added = {name for name in _ADDED_FIELDS if getattr(wanted, name) == ClusterRequest.model_fields[name].default}
    canonical = json.dumps(wanted.model_dump(mode="json", exclude=added), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse_labels(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals) or not pair.isprintable():
            raise InvalidRequest("label: write it as key=value")
        if labels.setdefault(key, value) != value:
            raise InvalidRequest(f"label: no cluster has two values for {key!r}")
    return labels
