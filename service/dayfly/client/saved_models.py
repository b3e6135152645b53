"""The server's answers about checkpoints, templates and pools, as typed values; and a pool's schedule, both ways."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from dayfly.client.models import Answer, ErrorReport, NodeSize, Workers

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Checkpoint(Answer):
    """A saved state of a cluster. `phase` is making, ready or deleting; `size_bytes` as the server's disk has it."""

    name: str
    phase: str
    created_at: datetime
    size_bytes: int = 0


class CheckpointList(Answer):
    checkpoints: tuple[Checkpoint, ...]


class Shape(Answer):
    """What clusters must have in common to be forks of one template, or members of one pool."""

    image: str
    image_id: str
    kubernetes_version: str | None = None
    control_plane: NodeSize
    workers: Workers
    readiness: str


class Parents(Answer):
    """What a template was made from: an image's content id, and the id of the cluster that was saved."""

    image: str
    builder: str


class TemplateError(ErrorReport):
    """Why a template failed. `cluster` is the id of the one that did: its evidence and diagnostics are there."""

    cluster: str | None = None


class Template(Shape):
    """A saved cluster of which others are forks. `phase` is making, verifying, ready, retired, failed or gone.

    `uses` counts forks ever begun, `forks` those that are not deleted, `failures` those that failed since the last that
    did not.
    """

    id: str
    owner: str
    phase: str
    parents: Parents
    created_at: datetime
    ready_at: datetime | None = None
    last_used_at: datetime | None = None
    age_seconds: float = 0.0
    size_bytes: int = 0
    uses: int = 0
    forks: int = 0
    failures: int = 0
    error: TemplateError | None = None


class TemplateList(Answer):
    templates: tuple[Template, ...]


class Period(Answer):
    """A part of the week in which a pool has another size: days, and times in UTC as `07:00`; a day ends at `24:00`."""

    days: tuple[Day, ...]
    since: str
    until: str
    size: int


class PoolWaits(Answer):
    """Why a pool is not filled: a stable code, and a sentence."""

    code: str
    message: str


class Pool(Shape):
    """Warm clusters that wait. `wanted`: how many are to wait now; `ready`: how many do; `making`: on their way.

    `waiting`: what keeps it from being filled, if anything does.
    """

    id: str
    name: str
    owner: str
    created_at: datetime
    size: int
    maximum: int
    schedule: tuple[Period, ...] = ()
    max_age_seconds: int
    wanted: int = 0
    ready: int = 0
    making: int = 0
    waiting: PoolWaits | None = None


class PoolList(Answer):
    pools: tuple[Pool, ...]
