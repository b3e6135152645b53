"""Checkpoints, templates and pools as callers are shown them: models, and how they come from the domain's values."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, time

from pydantic import BaseModel, Field

from dayfly.api.rendering import show_fault, show_spec
from dayfly.api.representations import ErrorReport, Workers
from dayfly.api.saved_requests import DAYS, END_OF_DAY, Day
from dayfly.domain import checkpoint as checkpoints
from dayfly.domain import pool as pools
from dayfly.domain import template as templates
from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import ClusterSpec, Readiness
from dayfly.domain.image import NodeSize
from dayfly.domain.template import TemplatePhase


class Checkpoint(BaseModel):
    """A saved state of a cluster, to be reset to."""

    name: str
    phase: CheckpointPhase = Field(
        description="`making`, `ready` or `deleting`. One that could not be made is gone, and the cluster's events say "
        "why."
    )
    created_at: datetime
    size_bytes: int = Field(description="As the disk has it; 0 until it is ready.")


class CheckpointList(BaseModel):
    """All of a cluster's checkpoints, oldest first."""

    checkpoints: list[Checkpoint]


class Shape(BaseModel):
    """What clusters must have in common to be forks of one template, or members of one pool."""

    image: str = Field(description="The full reference.")
    image_id: str = Field(description="The engine's content id.")
    kubernetes_version: str | None
    control_plane: NodeSize
    workers: Workers
    readiness: Readiness


class Parents(BaseModel):
    """What a template was made from."""

    image: str = Field(description="The image's content id.")
    builder: str = Field(description="The id of the cluster that was saved.")


class TemplateError(ErrorReport):
    """Why a template failed."""

    cluster: str | None = Field(
        description="The id of the cluster that failed, which it was made from, or tried with: evidence and "
        "diagnostics are under that id, deleted as it is, while it is on record."
    )


class Template(Shape):
    """A running cluster, saved once, of which others are forks."""

    id: str
    owner: str
    phase: TemplatePhase = Field(
        description="`making`: a cluster is made for it, and saved. `verifying`: its first fork is on trial. `ready`: "
        "it serves forks. `retired`: it serves no new ones, and is gone with the last of those that use it. `failed`: "
        "with an `error`. `gone`: nothing is left but its record."
    )
    parents: Parents
    created_at: datetime
    ready_at: datetime | None
    last_used_at: datetime | None = Field(description="When the last fork of it was begun.")
    age_seconds: float = Field(description="Since it was asked for.")
    size_bytes: int = Field(description="As the disk has it; 0 until it is saved.")
    uses: int = Field(description="How many forks were ever begun.")
    forks: int = Field(description="How many of them are not deleted.")
    failures: int = Field(description="How many forks failed since the last that did not.")
    error: TemplateError | None


class TemplateList(BaseModel):
    """Templates, newest first."""

    templates: list[Template]


class PeriodView(BaseModel):
    """A part of the week in which a pool has another size. Times are in UTC."""

    days: list[Day]
    since: str
    until: str
    size: int


class PoolWaits(BaseModel):
    """Why a pool is not filled."""

    code: str = Field(
        description="`template_making`: members are forks, and their template is being made. `no_room`: they wait for "
        "their share of the host. Else as of an error: what the template, a member, or a look at the image met."
    )
    message: str


class Pool(Shape):
    """Forks of one template, kept warm and paused for whoever asks for such a cluster next."""

    id: str
    name: str
    owner: str
    created_at: datetime
    size: int
    maximum: int
    schedule: list[PeriodView]
    max_age_seconds: int
    wanted: int = Field(description="How many members are to wait at this moment, by size, schedule and maximum.")
    ready: int = Field(description="How many wait, and will be given away at once.")
    making: int = Field(description="How many are on their way to that.")
    waiting: PoolWaits | None = Field(
        description="What keeps the pool from being filled, as a worker found it when it last looked. null: nothing."
    )


class PoolList(BaseModel):
    """All pools, by name."""

    pools: list[Pool]


def show_checkpoint(checkpoint: checkpoints.Checkpoint) -> Checkpoint:
    return Checkpoint(
        name=checkpoint.name,
        phase=checkpoint.phase,
        created_at=checkpoint.created_at,
        size_bytes=checkpoint.size_bytes,
    )


def show_template(template: templates.Template, now: datetime, evidence: Collection[str] = ()) -> Template:
    """`evidence`: the names of what there is of the cluster that it failed with."""
    return Template(
        **_shape(template.spec),
        id=template.id,
        owner=template.owner,
        phase=template.phase,
        parents=Parents(image=template.spec.image_id, builder=template.builder),
        created_at=template.created_at,
        ready_at=template.ready_at,
        last_used_at=template.last_used_at,
        age_seconds=round(max(0.0, (now - template.created_at).total_seconds()), 3),
        size_bytes=template.size_bytes,
        uses=template.uses,
        forks=template.forks,
        failures=template.failures,
        error=_show_error(template, evidence),
    )


def _show_error(template: templates.Template, evidence: Collection[str]) -> TemplateError | None:
    report = show_fault(template.fault, evidence)
    return None if report is None else TemplateError(**dict(report), cluster=template.failed_cluster)


def show_pool(pool: pools.Pool, members: Iterable[Cluster], now: datetime) -> Pool:
    """`members`: those of it that live and that no caller has."""
    staying = [one for one in members if one.desired is Desired.PRESENT]
    ready = sum(one.phase is Phase.READY and one.paused for one in staying)
    failed = sum(one.phase is Phase.FAILED for one in staying)
    return Pool(
        **_shape(pool.spec),
        id=pool.id,
        name=pool.name,
        owner=pool.owner,
        created_at=pool.created_at,
        size=pool.size,
        maximum=pool.maximum,
        schedule=[_show_period(period) for period in pool.schedule],
        max_age_seconds=pool.max_age_seconds,
        wanted=pool.wanted(now),
        ready=ready,
        making=len(staying) - ready - failed,
        waiting=pool.waiting and PoolWaits(code=pool.waiting.code, message=pool.waiting.message),
    )


def _show_period(period: pools.Period) -> PeriodView:
    until = END_OF_DAY if period.until == time.max else f"{period.until:%H:%M}"
    return PeriodView(
        days=[DAYS[day] for day in sorted(period.days)], since=f"{period.since:%H:%M}", until=until, size=period.size
    )


def _shape(spec: ClusterSpec) -> dict[str, object]:
    return {name: value for name, value in show_spec(spec) if name in Shape.model_fields}
