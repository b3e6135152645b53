"""Responses about checkpoints, as typed values."""

from __future__ import annotations

from datetime import datetime

from dayfly.client.models import Answer


class Checkpoint(Answer):
    """A saved state of a cluster. `phase` is creating, ready or deleting; `size_bytes` as the server's disk has it."""

    name: str
    phase: str
    created_at: datetime
    size_bytes: int = 0


class CheckpointList(Answer):
    checkpoints: tuple[Checkpoint, ...]
