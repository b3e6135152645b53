"""/v1/clusters: create, list, get, delete. A request is recorded in a row; a worker (controllers/) carries it out.

Not here: updates of an existing cluster (routes_update.py).
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from dayfly.api.clusters.bounds import check_hold, check_size, check_ttl
from dayfly.api.clusters.cluster_response import awaited, show, show_after
from dayfly.api.clusters.presenter import addon_names, show_spec, show_summary
from dayfly.api.clusters.queue_position import queue_positions
from dayfly.api.clusters.spec_resolver import resolve_spec
from dayfly.api.clusters.ttl import allowed_hold
from dayfly.api.dependencies import ApiServices, Services, require_caller
from dayfly.api.etags import DESCRIBED, cluster_tag, tagged
from dayfly.api.idempotency import REPLAYED, KeyHeader, key_of
from dayfly.api.ownership import owned
from dayfly.api.parameters import IdOrName, Labels, TheCluster, Timeout, parse_labels
from dayfly.api.principals import Caller
from dayfly.api.queue_cache import NOT_QUEUED
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.quota import isolation_of
from dayfly.domain.security.principal import Reference, Scope
from dayfly.errors import InvalidRequest, NameTaken, NotFound
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER, ClusterRequest
from dayfly.schemas.clusters import Cluster, ClusterList, DryRun
from dayfly.store import NewCluster
from dayfly.vocabulary import WaitFor

router: Final = APIRouter(prefix="/v1/clusters", tags=["clusters"])

Wait = Annotated[
    WaitFor | None,
    Query(
        description="Hold the response until the cluster is `ready`, `hibernated`, `deleted`, or `settled`: ready or "
        "failed; hibernated or deleted if that was requested. The response comes earlier if the cluster failed or "
        "another request makes the state impossible. A cluster with a pending reset is not ready. "
        "A held request is no heartbeat: a cluster that expects heartbeats needs them meanwhile."
    ),
]


@router.post(
    "",
    operation_id="createCluster",
    status_code=202,
    response_model=Cluster,
    responses={
        200: {"description": "With `dry_run`: the cluster that the request would create.", "model": DryRun},
        201: {
            "description": "The cluster of an earlier request with the same key, and it is ready.",
            "model": Cluster,
            "headers": {"Location": {"description": "The cluster's path.", "schema": {"type": "string"}}},
        },
        202: {
            "description": "Accepted. The cluster waits in the queue, or was a pool member; it is then provisioned.",
            "headers": {"Location": {"description": "The cluster's path.", "schema": {"type": "string"}}},
        },
    },
)
async def create_cluster(
    request: Request,
    wanted: ClusterRequest,
    response: Response,
    services: Services,
    caller: Caller,
    dry_run: Annotated[bool, Query(description="Check the request without creating a cluster.")] = False,
    idempotency_key: KeyHeader = None,
) -> Cluster | Response:
    """Create a cluster. The response does not wait for it: wait with `GET /v1/clusters/{cluster}?wait=ready`."""
    wanted = await owned(wanted, caller, services)
    key = key_of(idempotency_key, wanted, caller, wanted.owner)
    if (
        key is not None
        and not dry_run
        and (made := await services.store.clusters.find_by_idempotency_key(key)) is not None
    ):
        # Before all checks: a retry returns its cluster even if the image was removed meanwhile.
        return await _accepted(made, response, services, created=False)
    wanted = await _isolated(wanted, services)
    hold = allowed_hold(wanted.hold, services)
    spec = await services.lookups.bounded(resolve_spec(wanted, services))
    check_size(caller.bounds, spec)
    check_ttl(caller.bounds, spec.ttl_seconds)
    check_hold(caller.bounds, hold, services.clock.now())
    if dry_run:
        await _check_name_is_free(wanted.name, wanted.owner, services)
        own = {"name": wanted.name, "owner": wanted.owner, "hold": hold, "addons": addon_names(spec)}
        shown = DryRun.of(show_spec(spec), **own)
        return Response(shown.model_dump_json(), media_type="application/json")
    factor = await services.lookups.bounded(_memory_factor(spec, wanted.owner, services))
    new = NewCluster(
        name=wanted.name,
        spec=spec,
        owner=wanted.owner,
        hold=hold,
        memory_factor=factor,
        principal=caller.name,
    )
    await require_caller(request)
    cluster, created = await services.store.clusters.create(new, key)
    return await _accepted(cluster, response, services, created=created)


async def _isolated(wanted: ClusterRequest, services: ApiServices) -> ClusterRequest:
    """The request with the isolation that its team's clusters have. Raises IsolationRequired."""
    quota = await services.store.quotas.of(wanted.owner)
    asked = wanted.isolation if "isolation" in wanted.model_fields_set else None
    return wanted.model_copy(update={"isolation": isolation_of(wanted.owner, quota, asked)})


async def _memory_factor(spec: ClusterSpec, owner: str, services: ApiServices) -> float:
    """Only forks share memory: without a template, all the cluster's memory is reserved."""
    if services.settings.fork_memory_overcommit == 1.0 or spec.isolation == "strict":
        return 1.0
    template = await services.store.templates.find(await services.template_key_of(spec, owner), owner)
    return 1.0 if template is None else services.settings.fork_memory_overcommit


async def _accepted(cluster: domain.Cluster, response: Response, services: ApiServices, *, created: bool) -> Cluster:
    response.headers["Location"] = f"/v1/clusters/{cluster.id}"
    if cluster.phase is Phase.READY and cluster.desired is Desired.PRESENT:
        response.status_code = 201
    if not created:
        response.headers[REPLAYED] = "true"
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
    caller: Caller,
    label: Labels = [],  # noqa: B006
    phase: Annotated[
        list[Phase],
        Query(max_length=len(Phase), description="Any of the given phases. Default: all but `deleted`."),
    ] = [],  # noqa: B006
    owner: Annotated[
        str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Clusters of this owner.")
    ] = None,
    name: Annotated[
        str | None, Query(max_length=40, description="Clusters that have this name, or had it before their deletion.")
    ] = None,
    purpose: Annotated[
        list[Purpose],
        Query(
            max_length=len(Purpose),
            description="Any of the given purposes. Default: callers' clusters, not those of templates and pools.",
        ),
    ] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, pattern=r"^[\x21-\x7e]+$")] = None,
) -> ClusterList:
    """List clusters, newest first."""
    page = await services.store.clusters.list(
        labels=parse_labels(label),
        phases=phase,
        owner=owner,
        scope=caller.scope,
        name=name,
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


@router.get("/{cluster}", operation_id="getCluster", responses={200: {"headers": DESCRIBED}})
async def get_cluster(
    request: Request,
    response: Response,
    services: Services,
    cluster: TheCluster,
    wait: Wait = None,
    timeout_seconds: Timeout = 300.0,
) -> Cluster:
    """Get a cluster, at once or when the `wait` condition is met."""
    current = await awaited(request, services, cluster, wait, timeout_seconds)
    tagged(response, cluster_tag(current))
    return await show(current, services)


@router.delete("/{cluster}", operation_id="deleteCluster", status_code=202)
async def delete_cluster(
    request: Request,
    services: Services,
    cluster: IdOrName,
    wait: Annotated[
        WaitFor | None,
        Query(
            description="`deleted`: hold the response until the cluster is deleted.",
            json_schema_extra={"enum": ["deleted"]},
        ),
    ] = None,
    timeout_seconds: Timeout = 300.0,
) -> Cluster:
    """Delete a cluster, in any phase. May be repeated."""
    if wait not in {None, "deleted"}:
        raise InvalidRequest("wait: a deletion can be waited for with 'deleted' only")
    deleting = await services.store.lifecycle.delete(cluster)
    return await show_after(request, services, deleting, wait, timeout_seconds)


async def _check_name_is_free(name: str | None, owner: str, services: ApiServices) -> None:
    if name is None:
        return
    try:
        await services.store.clusters.get(Reference(name, Scope(owner)))
    except NotFound:
        return
    raise NameTaken(f"a cluster named {name} exists")
