"""A checkpoint: a snapshot that a caller took of a cluster, as the target of a later reset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CheckpointPhase(StrEnum):
    """The phase of a checkpoint. One that fails leaves no record; the cluster's events give the reason."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint. `size_bytes` as the disk has it; 0 until it is ready."""

    cluster_id: str
    name: str
    phase: CheckpointPhase
    created_at: datetime
    size_bytes: int = 0
