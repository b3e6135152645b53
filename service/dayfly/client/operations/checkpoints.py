"""Requests about checkpoints, as values."""

from __future__ import annotations

from dayfly.client.checkpoint_models import Checkpoint, CheckpointList
from dayfly.client.operations.call import Call, model, path_of


def create_checkpoint(cluster: str, name: str) -> Call[Checkpoint]:
    return Call("POST", path_of(cluster, "checkpoints"), model(Checkpoint), json={"name": name})


def checkpoint(cluster: str, name: str) -> Call[Checkpoint]:
    return Call("GET", path_of(cluster, "checkpoints", name), model(Checkpoint))


def checkpoints(cluster: str) -> Call[tuple[Checkpoint, ...]]:
    parse = model(CheckpointList)
    return Call("GET", path_of(cluster, "checkpoints"), lambda response: parse(response).checkpoints)


def delete_checkpoint(cluster: str, name: str) -> Call[Checkpoint]:
    return Call("DELETE", path_of(cluster, "checkpoints", name), model(Checkpoint))
