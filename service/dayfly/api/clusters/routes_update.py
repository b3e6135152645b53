"""Updates of a cluster by callers: time to live, labels, hold, idleness; and heartbeats."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from dayfly.api.clusters.cluster_response import show
from dayfly.api.clusters.presenter import show_heartbeat
from dayfly.api.clusters.ttl import change_of
from dayfly.api.dependencies import Services
from dayfly.api.parameters import IdOrName
from dayfly.schemas.cluster_requests import ChangeRequest
from dayfly.schemas.clusters import Cluster, Heartbeat

router: Final = APIRouter(prefix="/v1/clusters/{cluster}", tags=["clusters"])


@router.patch("", operation_id="changeCluster")
async def change_cluster(wanted: ChangeRequest, services: Services, cluster: IdOrName) -> Cluster:
    """Change a cluster's time to live, labels, hold or idleness; what is left out stays. 409 when it is being deleted.

    409, too, when it is nobody's (its `purpose` is not `cluster`): here, and for all else that is wished of a cluster
    but its deletion. A time to live that would be over already is refused: DELETE such a cluster. All else is decided
    at creation: its isolation, for one.
    """
    change, allow = change_of(wanted, services)
    return await show(await services.store.change_cluster(cluster, change, allow), services)


@router.post("/heartbeat", operation_id="sendHeartbeat")
async def send_heartbeat(services: Services, cluster: IdOrName) -> Heartbeat:
    """Say that the cluster is still needed. 409 when it was made without `heartbeat_interval_seconds`, or is going.

    Needs no body. Send one at a third of the interval, so that a lost one costs nothing.
    """
    return show_heartbeat(await services.store.heartbeat(cluster))
