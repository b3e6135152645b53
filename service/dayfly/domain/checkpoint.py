"""A checkpoint: a snapshot that a caller took of a cluster, as the target of a later reset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dayfly.vocabulary import CheckpointPhase

__all__ = ["Checkpoint", "CheckpointPhase"]


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint. `size_bytes` as the disk has it, so far while it is saved; 0 before."""

    cluster_id: str
    name: str
    phase: CheckpointPhase
    created_at: datetime
    size_bytes: int = 0
