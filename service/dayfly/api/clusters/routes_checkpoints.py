"""/v1/clusters/{cluster}/checkpoints: a caller's snapshots of a cluster. Not here: resets (routes_lifecycle.py)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Response

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
    for one in await services.store.list_checkpoints(cluster.id) if CHECKPOINT_NAME.fullmatch(name) else ():
        if one.name == name:
            return one
    raise NotFound(f"the cluster {cluster.name} has no checkpoint of this name")


TheCheckpoint = Annotated[domain.Checkpoint, Depends(_checkpoint)]


@router.post(
    "",
    operation_id="createCheckpoint",
    status_code=202,
    responses={
        202: {"headers": {"Location": {"description": "Where to look for it.", "schema": {"type": "string"}}}},
    },
)
async def create_checkpoint(
    wanted: CheckpointRequest, response: Response, services: Services, cluster: IdOrName
) -> Checkpoint:
    """Save a ready cluster as it is now. Its machines stand still for a moment, and go on with their clocks mended.

    409 when it is not ready, has a checkpoint of this name, or has as many as it can.
    """
    made = await services.store.create_checkpoint(cluster, wanted.name)
    response.headers["Location"] = f"/v1/clusters/{made.cluster_id}/checkpoints/{made.name}"
    return show_checkpoint(made)


@router.get("", operation_id="listCheckpoints")
async def list_checkpoints(services: Services, cluster: TheCluster) -> CheckpointList:
    """The cluster's checkpoints, oldest first."""
    found = await services.store.list_checkpoints(cluster.id)
    return CheckpointList(checkpoints=tuple(show_checkpoint(one) for one in found))


@router.get("/{name}", operation_id="getCheckpoint")
async def get_checkpoint(checkpoint: TheCheckpoint) -> Checkpoint:
    """One checkpoint."""
    return show_checkpoint(checkpoint)


@router.delete("/{name}", operation_id="deleteCheckpoint", status_code=202)
async def delete_checkpoint(services: Services, checkpoint: TheCheckpoint) -> Checkpoint:
    """Ask for a checkpoint to be deleted; it is gone from the list when it is. Asking again does no harm."""
    return show_checkpoint(await services.store.delete_checkpoint(checkpoint.cluster_id, checkpoint.name))
