"""Reset, hibernate, resume. A request is recorded in a row; a worker carries it out.

Not here: the checkpoints that a cluster can be reset to (routes_checkpoints.py).
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request

from dayfly.api.clusters.cluster_response import show
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.long_poll import wait_for_cluster
from dayfly.api.parameters import IdOrName, Timeout
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster.boot_source import IMAGE, BootSource
from dayfly.errors import InvalidRequest
from dayfly.schemas.checkpoints import ResetRequest
from dayfly.schemas.clusters import Cluster
from dayfly.vocabulary import WaitFor

router: Final = APIRouter(prefix="/v1/clusters/{cluster}", tags=["clusters"])

_UntilReady = Annotated[
    WaitFor | None, Query(description="`ready`: hold the answer until it is ready again, or failed.")
]
_UntilHibernated = Annotated[
    WaitFor | None, Query(description="`hibernated`: hold the answer until it is so, or could not be and is ready.")
]


@router.post("/reset", operation_id="resetCluster", status_code=202)
async def reset_cluster(
    request: Request,
    services: Services,
    cluster: IdOrName,
    wanted: ResetRequest | None = None,
    wait: _UntilReady = None,
    timeout_seconds: Timeout = 300.0,
) -> Cluster:
    """Bring a ready cluster back to how it was when it was first ready, or to a checkpoint of it; needs no body.

    Id, name, ports, kubeconfig and keys stay; what is within its machines goes. `generation` in the answer is that of
    the cluster after the reset: it is ready again when it is `ready` without a `reset_to`, which is what `wait=ready`
    waits for. 409 when it is not ready, 404 when there is no such checkpoint. One whose checkpoint cannot be loaded
    has failed with `checkpoint_not_loaded`: nothing else is put in its place.
    """
    _check_wait(wait, "ready")
    wished = await services.store.request_reset(cluster, _boot_source(wanted or ResetRequest()))
    return await _answer(request, services, wished, wait, timeout_seconds)


@router.post("/hibernate", operation_id="hibernateCluster", status_code=202)
async def hibernate_cluster(
    request: Request,
    services: Services,
    cluster: IdOrName,
    wait: _UntilHibernated = None,
    timeout_seconds: Timeout = 300.0,
) -> Cluster:
    """Put a ready cluster's machines on the disk: no CPU and no memory any more, until it is resumed. Needs no body.

    Its time to live goes on. Asking again does no harm; 409 when it is not ready.
    """
    _check_wait(wait, "hibernated")
    wished = await services.store.request_hibernation(cluster)
    return await _answer(request, services, wished, wait, timeout_seconds)


@router.post("/resume", operation_id="resumeCluster", status_code=202)
async def resume_cluster(
    request: Request,
    services: Services,
    cluster: IdOrName,
    wait: _UntilReady = None,
    timeout_seconds: Timeout = 300.0,
) -> Cluster:
    """Let a hibernated cluster go on where it was, with its clocks mended; it waits for room as a new one does.

    Needs no body. Asking again does no harm, nor does asking it of one that is not hibernated, which is answered as it
    is; 409 when it failed, or is to be deleted. One that a hold keeps hibernated past its end is kept `running` from
    then on, until the hold is over or its time to live is extended.
    """
    _check_wait(wait, "ready")
    wished = await services.store.request_resume(cluster)
    return await _answer(request, services, wished, wait, timeout_seconds)


def _check_wait(wait: WaitFor | None, possible: WaitFor) -> None:
    if wait not in {None, possible}:
        raise InvalidRequest(f"wait: this can be waited for with {possible!r} only")


def _boot_source(wanted: ResetRequest) -> BootSource:
    return IMAGE if wanted.to == "pristine" else BootSource("checkpoint", wanted.to.checkpoint)


async def _answer(
    request: Request, services: ApiServices, cluster: domain.Cluster, wait: WaitFor | None, timeout_seconds: float
) -> Cluster:
    if wait is not None:
        cluster = await wait_for_cluster(request, services, cluster, wait, timeout_seconds)
    return await show(cluster, services)
