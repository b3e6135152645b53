"""Reset, hibernate, resume. A request is recorded in a row; a worker carries it out.

Not here: the checkpoints that a cluster can be reset to (routes_checkpoints.py).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from dayfly.api.clusters.cluster_response import show_after
from dayfly.api.dependencies import Services
from dayfly.api.idempotency import KeyHeader, key_of, once
from dayfly.api.parameters import IdOrName, Timeout
from dayfly.api.principals import Caller
from dayfly.domain.cluster.boot_source import IMAGE, BootSource
from dayfly.errors import InvalidRequest
from dayfly.schemas.checkpoints import ResetRequest
from dayfly.schemas.clusters import Cluster
from dayfly.vocabulary import WaitFor

router: Final = APIRouter(prefix="/v1/clusters/{cluster}", tags=["clusters"])

_UntilReady = Annotated[
    WaitFor | None,
    Query(
        description="`ready`: hold the response until the cluster is ready again, or failed.",
        json_schema_extra={"enum": ["ready"]},
    ),
]
_UntilHibernated = Annotated[
    WaitFor | None,
    Query(
        description="`hibernated`: hold the response until the cluster is hibernated, or the hibernation failed and "
        "the cluster is ready.",
        json_schema_extra={"enum": ["hibernated"]},
    ),
]


@router.post("/reset", operation_id="resetCluster", status_code=202)
async def reset_cluster(
    request: Request,
    response: Response,
    services: Services,
    cluster: IdOrName,
    caller: Caller,
    wanted: ResetRequest | None = None,
    wait: _UntilReady = None,
    timeout_seconds: Timeout = 300.0,
    idempotency_key: KeyHeader = None,
) -> Cluster:
    """Reset a ready cluster to its first ready state, or to one of its checkpoints. The body is optional.

    Id, name, ports, kubeconfig and keys stay; the present state of the VMs is lost. `generation` in the response is
    that of the cluster after the reset. The reset is complete when the cluster is `ready` without a `reset_to`;
    `wait=ready` waits for that. 409 if the cluster is not ready, 404 if the checkpoint does not exist. If the
    checkpoint cannot be restored, the cluster fails with `checkpoint_not_loaded`.
    """
    _check_wait(wait, "ready")
    wanted = wanted or ResetRequest()
    to = wanted.to
    boot_source = IMAGE if to == "pristine" else BootSource("checkpoint", to.checkpoint)
    send = partial(services.store.lifecycle.reset, cluster, boot_source)
    resetting = await once(response, services, key_of(idempotency_key, wanted, caller), send)
    return await show_after(request, services, resetting, wait, timeout_seconds)


@router.post("/hibernate", operation_id="hibernateCluster", status_code=202)
async def hibernate_cluster(
    request: Request,
    response: Response,
    services: Services,
    cluster: IdOrName,
    caller: Caller,
    wait: _UntilHibernated = None,
    timeout_seconds: Timeout = 300.0,
    idempotency_key: KeyHeader = None,
) -> Cluster:
    """Save a ready cluster's VMs to disk and stop them: the cluster takes no CPU and no memory until it is resumed.

    No body. The time to live continues. May be repeated; 409 if the cluster is not ready.
    """
    _check_wait(wait, "hibernated")
    send = partial(services.store.lifecycle.hibernate, cluster)
    hibernating = await once(response, services, key_of(idempotency_key, "hibernate", caller), send)
    return await show_after(request, services, hibernating, wait, timeout_seconds)


@router.post("/resume", operation_id="resumeCluster", status_code=202)
async def resume_cluster(
    request: Request,
    response: Response,
    services: Services,
    cluster: IdOrName,
    caller: Caller,
    wait: _UntilReady = None,
    timeout_seconds: Timeout = 300.0,
    idempotency_key: KeyHeader = None,
) -> Cluster:
    """Resume a hibernated cluster, with corrected clocks. The cluster waits in the queue like a new cluster.

    No body. May be repeated; has no effect on a cluster that is not hibernated; 409 if the cluster failed or is being
    deleted. If a hold keeps an expired cluster hibernated, the hold changes to `running`.
    """
    _check_wait(wait, "ready")
    send = partial(services.store.lifecycle.resume, cluster)
    resuming = await once(response, services, key_of(idempotency_key, "resume", caller), send)
    return await show_after(request, services, resuming, wait, timeout_seconds)


def _check_wait(wait: WaitFor | None, possible: WaitFor) -> None:
    if wait not in {None, possible}:
        raise InvalidRequest(f"wait: this request can be waited for with {possible!r} only")
