"""Checkpoints of a cluster, and resets to them, over HTTP: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from dayfly.schemas.base import Id, Open, RequestModel, ResponseModel
from dayfly.vocabulary import CHECKPOINT_NAME, CheckpointPhase


class Checkpoint(ResponseModel):
    """A saved state of a cluster, to be reset to."""

    name: Id
    phase: Open[CheckpointPhase] = Field(
        description="`creating`, `ready` or `deleting`. One that fails leaves no record; the cluster's events give "
        "the reason."
    )
    created_at: datetime
    size_bytes: int = Field(
        description="As the disk has it; while it is `creating`, its size so far, a few seconds old, and 0 before."
    )


class CheckpointList(ResponseModel):
    """All of a cluster's checkpoints, oldest first."""

    checkpoints: tuple[Checkpoint, ...]


CheckpointName = Annotated[
    str,
    Field(
        max_length=40,
        pattern=f"^{CHECKPOINT_NAME.pattern}$",
        description="At most 40 lower-case letters, digits and '-', with no '-' at either end; unique in its cluster.",
        examples=["with-data"],
    ),
]


class CheckpointRequest(RequestModel):
    """A checkpoint as a caller asks for it."""

    name: CheckpointName


class ResetToCheckpoint(RequestModel):
    """Back to one of the cluster's own checkpoints."""

    checkpoint: CheckpointName


def _form(given: Any) -> str:
    return "checkpoint" if isinstance(given, dict | ResetToCheckpoint) else "pristine"


class ResetRequest(RequestModel):
    """Where a cluster is to go back to."""

    to: Annotated[
        Annotated[Literal["pristine"], Tag("pristine")] | Annotated[ResetToCheckpoint, Tag("checkpoint")],
        Discriminator(_form),
    ] = Field(default="pristine", description="As it was when it was first ready (`pristine`), or to a checkpoint.")
