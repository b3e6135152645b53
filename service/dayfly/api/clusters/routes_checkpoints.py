"""/v1/clusters/{cluster}/checkpoints: a caller's snapshots of a cluster. Not here: resets (routes_lifecycle.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response

from dayfly.api.dependencies import Services, require_caller
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.parameters import IdOrName, TheCluster, name_cluster
from dayfly.api.principals import Caller
from dayfly.domain import checkpoint as domain
from dayfly.errors import NotFound
from dayfly.schemas.checkpoints import Checkpoint, CheckpointList, CheckpointRequest
from dayfly.store import CarriedOut
from dayfly.vocabulary import CHECKPOINT_NAME

router: Final = APIRouter(prefix="/v1/clusters/{cluster}/checkpoints", tags=["checkpoints"])


async def _checkpoint(
    services: Services, cluster: TheCluster, name: Annotated[str, Path(description="A checkpoint's name.")]
) -> domain.Checkpoint:
    for one in await services.store.checkpoints.list(cluster.id) if CHECKPOINT_NAME.fullmatch(name) else ():
        if one.name == name:
            return one
    raise NotFound(f"cluster {cluster.name} has no checkpoint of this name")


async def _made_at(services: Services, cluster_id: str, name: str, at: datetime) -> domain.Checkpoint:
    """The checkpoint of that request, and no later one of the same name."""
    for one in await services.store.checkpoints.list(cluster_id):
        if (one.name, one.created_at) == (name, at):
            return one
    raise NotFound(f"checkpoint {name} failed or was deleted")


TheCheckpoint = Annotated[domain.Checkpoint, Depends(_checkpoint)]


@router.post(
    "",
    operation_id="createCheckpoint",
    status_code=202,
    responses={
        202: {"headers": {"Location": {"description": "The checkpoint's path.", "schema": {"type": "string"}}}},
    },
)
async def create_checkpoint(
    request: Request,
    wanted: CheckpointRequest,
    response: Response,
    services: Services,
    cluster: IdOrName,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> Checkpoint:
    """Take a checkpoint of a ready cluster. Its VMs are paused during the snapshot; then their clocks are corrected.

    409 if the cluster is not ready, has a checkpoint of this name, or has the maximum number of checkpoints.
    """
    await require_caller(request)
    try:
        made = await services.store.checkpoints.create(cluster, wanted.name, key_of(idempotency_key, wanted, caller))
    except CarriedOut as first:
        made = await replayed(response, _made_at(services, str(first.use.cluster_id), wanted.name, first.use.at))
    name_cluster(request, await services.store.clusters.get(made.cluster_id))
    response.headers["Location"] = f"/v1/clusters/{made.cluster_id}/checkpoints/{made.name}"
    return Checkpoint.of(made)


@router.get("", operation_id="listCheckpoints")
async def list_checkpoints(services: Services, cluster: TheCluster) -> CheckpointList:
    """List the cluster's checkpoints, oldest first."""
    found = await services.store.checkpoints.list(cluster.id)
    return CheckpointList(checkpoints=tuple(map(Checkpoint.of, found)))


@router.get("/{name}", operation_id="getCheckpoint")
async def get_checkpoint(checkpoint: TheCheckpoint) -> Checkpoint:
    """Get a checkpoint."""
    return Checkpoint.of(checkpoint)


@router.delete("/{name}", operation_id="deleteCheckpoint", status_code=202)
async def delete_checkpoint(services: Services, checkpoint: TheCheckpoint) -> Checkpoint:
    """Delete a checkpoint. The list contains it until its deletion is complete. May be repeated."""
    return Checkpoint.of(await services.store.checkpoints.delete(checkpoint.cluster_id, checkpoint.name))
