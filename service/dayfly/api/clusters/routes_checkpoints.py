"""/v1/clusters/{cluster}/checkpoints: a caller's snapshots of a cluster. Not here: resets (routes_lifecycle.py)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request, Response

from dayfly.api.caller import require_caller
from dayfly.api.clusters.presenter import show_checkpoint
from dayfly.api.dependencies import Services
from dayfly.api.parameters import IdOrName, TheCluster
from dayfly.domain import checkpoint as domain
from dayfly.errors import NotFound
from dayfly.schemas.checkpoints import Checkpoint, CheckpointList, CheckpointRequest
from dayfly.vocabulary import CHECKPOINT_NAME

router: Final = APIRouter(prefix="/v1/clusters/{cluster}/checkpoints", tags=["checkpoints"])


async def _checkpoint(
    services: Services, cluster: TheCluster, name: Annotated[str, Path(description="A checkpoint's name.")]
) -> domain.Checkpoint:
    for one in await services.store.checkpoints.list(cluster.id) if CHECKPOINT_NAME.fullmatch(name) else ():
        if one.name == name:
            return one
    raise NotFound(f"cluster {cluster.name} has no checkpoint of this name")


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
    request: Request, wanted: CheckpointRequest, response: Response, services: Services, cluster: IdOrName
) -> Checkpoint:
    """Take a checkpoint of a ready cluster. Its VMs are paused during the snapshot; then their clocks are corrected.

    409 if the cluster is not ready, has a checkpoint of this name, or has the maximum number of checkpoints.
    """
    await require_caller(request)
    made = await services.store.checkpoints.create(cluster, wanted.name)
    response.headers["Location"] = f"/v1/clusters/{made.cluster_id}/checkpoints/{made.name}"
    return show_checkpoint(made)


@router.get("", operation_id="listCheckpoints")
async def list_checkpoints(services: Services, cluster: TheCluster) -> CheckpointList:
    """List the cluster's checkpoints, oldest first."""
    found = await services.store.checkpoints.list(cluster.id)
    return CheckpointList(checkpoints=tuple(show_checkpoint(one) for one in found))


@router.get("/{name}", operation_id="getCheckpoint")
async def get_checkpoint(checkpoint: TheCheckpoint) -> Checkpoint:
    """Get a checkpoint."""
    return show_checkpoint(checkpoint)


@router.delete("/{name}", operation_id="deleteCheckpoint", status_code=202)
async def delete_checkpoint(services: Services, checkpoint: TheCheckpoint) -> Checkpoint:
    """Delete a checkpoint. The list contains it until its deletion is complete. May be repeated."""
    return show_checkpoint(await services.store.checkpoints.delete(checkpoint.cluster_id, checkpoint.name))
