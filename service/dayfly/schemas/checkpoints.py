"""Checkpoints of a cluster, and resets to them, over HTTP: requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import CHECKPOINT_NAME, IMAGE, BootSource
from dayfly.schemas.cluster_requests import Strict


class Checkpoint(BaseModel):
    """A saved state of a cluster, to be reset to."""

    name: str
    phase: CheckpointPhase = Field(
        description="`creating`, `ready` or `deleting`. One that fails leaves no record; the cluster's events give "
        "the reason."
    )
    created_at: datetime
    size_bytes: int = Field(description="As the disk has it; 0 until it is ready.")


class CheckpointList(BaseModel):
    """All of a cluster's checkpoints, oldest first."""

    checkpoints: list[Checkpoint]


CheckpointName = Annotated[
    str,
    Field(
        max_length=40,
        pattern=f"^{CHECKPOINT_NAME.pattern}$",
        description="At most 40 lower-case letters, digits and '-', with no '-' at either end; unique in its cluster.",
        examples=["with-data"],
    ),
]


class CheckpointRequest(Strict):
    """A checkpoint as a caller asks for it."""

    name: CheckpointName


class ResetToCheckpoint(Strict):
    """Back to one of the cluster's own checkpoints."""

    checkpoint: CheckpointName


def _form(given: Any) -> str:
    return "checkpoint" if isinstance(given, dict | ResetToCheckpoint) else "pristine"


class ResetRequest(Strict):
    """Where a cluster is to go back to."""

    to: Annotated[
        Annotated[Literal["pristine"], Tag("pristine")] | Annotated[ResetToCheckpoint, Tag("checkpoint")],
        Discriminator(_form),
    ] = Field(default="pristine", description="As it was when it was first ready (`pristine`), or to a checkpoint.")

    @property
    def origin(self) -> BootSource:
        """As the store is told of it."""
        return IMAGE if self.to == "pristine" else BootSource("checkpoint", self.to.checkpoint)
