"""Updates of a cluster by callers: time to live, labels, hold, idleness, add-ons; and heartbeats."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fastapi import APIRouter, Request, Response

from dayfly.api.clusters.cluster_response import show
from dayfly.api.clusters.presenter import show_heartbeat
from dayfly.api.clusters.spec_resolver import resolve_addons
from dayfly.api.clusters.ttl import change_of
from dayfly.api.dependencies import Services
from dayfly.api.etags import DESCRIBED, IfMatch, cluster_tag, required, tagged
from dayfly.api.idempotency import RepeatableKeyHeader
from dayfly.api.parameters import IdOrName, name_cluster
from dayfly.api.principals import Caller
from dayfly.schemas.cluster_requests import ChangeRequest
from dayfly.schemas.clusters import Cluster, Heartbeat

router: Final = APIRouter(prefix="/v1/clusters/{cluster}", tags=["clusters"])


@router.patch("", operation_id="changeCluster", responses={200: {"headers": DESCRIBED}})
async def change_cluster(
    wanted: ChangeRequest,
    response: Response,
    services: Services,
    caller: Caller,
    cluster: IdOrName,
    if_match: IfMatch = None,
) -> Cluster:
    """Update a cluster's time to live, labels, hold, idle time or add-ons. Omitted fields keep their values.

    409 if the cluster is being deleted. 409 if its `purpose` is not `cluster`, here and for every other request but
    DELETE: the cluster belongs to a template or a pool. A time to live that has passed already is rejected: DELETE the
    cluster instead. Other fields, such as `isolation`, cannot be changed.
    """
    change, allow = change_of(wanted, services, caller.bounds)
    if "addons" in wanted.model_fields_set:
        spec = (await services.store.clusters.get(cluster)).spec
        addons = await resolve_addons(wanted.addons, spec.manifest, spec.readiness, services)
        change = replace(change, addons=addons)
    check = required(if_match, cluster_tag, "cluster")
    changed = await services.store.updates.change(cluster, change, allow, check)
    tagged(response, cluster_tag(changed))
    return await show(changed, services)


@router.post("/heartbeat", operation_id="sendHeartbeat")
async def send_heartbeat(
    request: Request,
    services: Services,
    cluster: IdOrName,
    idempotency_key: RepeatableKeyHeader = None,  # noqa: ARG001 - accepted, and checked by its pattern
) -> Heartbeat:
    """Send a heartbeat, which extends the cluster's expiry by the heartbeat interval.

    No body. 409 if the cluster was created without `heartbeat_interval_seconds`, or is being deleted. Send three
    heartbeats in each interval, so that a lost one does no harm.
    """
    beaten = await services.store.updates.heartbeat(cluster)
    name_cluster(request, beaten)
    return show_heartbeat(beaten)
