"""What callers send of resets, checkpoints, templates and pools, as models. Clusters themselves are in requests.py."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from dayfly.api.requests import ShapeRequest, Strict
from dayfly.domain.cluster import naming
from dayfly.domain.cluster.boot_source import CHECKPOINT_NAME, IMAGE, BootSource
from dayfly.domain.pool import Period

MAX_POOL: Final = 64
MAX_PERIODS: Final = 32
MIN_AGE_SECONDS: Final = 60
MAX_AGE_SECONDS: Final = 365 * 24 * 3600
DEFAULT_AGE_SECONDS: Final = 24 * 3600
END_OF_DAY: Final = "24:00"

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_UNTIL: Final = rf"{_TIME}|^24:00$"

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


class TemplateRequest(ShapeRequest):
    """A template as a caller asks for it: clusters of this shape and owner will be forks of it."""


class PeriodRequest(Strict):
    """A part of the week in which a pool has another size. Times are in UTC."""

    days: tuple[Day, ...] = Field(min_length=1, max_length=7, strict=False)
    since: str = Field(pattern=_TIME, examples=["07:00"])
    until: str = Field(
        pattern=_UNTIL, description="Later than `since`; the end of the day is 24:00.", examples=["19:00"]
    )
    size: int = Field(ge=0, le=MAX_POOL)

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.until <= self.since:
            raise ValueError("a period ends after it begins, on the same day: write one over midnight as two")
        return self

    @property
    def period(self) -> Period:
        """As the pool has it."""
        until = time.max if self.until == END_OF_DAY else time.fromisoformat(self.until)
        days = frozenset(DAYS.index(day) for day in self.days)
        return Period(days=days, since=time.fromisoformat(self.since), until=until, size=self.size)


def _as_tuple(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


Size = Annotated[int, Field(ge=0, le=MAX_POOL, description="How many members wait, outside of the schedule's periods.")]
Maximum = Annotated[
    int, Field(ge=0, le=MAX_POOL, description="The most that wait, whatever size and schedule say. 0 stops the pool.")
]
Schedule = Annotated[
    tuple[PeriodRequest, ...],
    BeforeValidator(_as_tuple),
    Field(max_length=MAX_PERIODS, description="The first period that has the moment gives the size instead of `size`."),
]
MaxAge = Annotated[
    int,
    Field(
        ge=MIN_AGE_SECONDS, le=MAX_AGE_SECONDS, description="A member that waited for so long makes room for a new one."
    ),
]


class PoolRequest(ShapeRequest):
    """A pool as a caller asks for it: members of this shape wait, paused, for clusters of this shape and owner."""

    name: str = Field(
        description="As that of a cluster; unique among pools.",
        examples=["ci"],
        json_schema_extra={"pattern": f"^{naming.CLUSTER_NAME.pattern}$"},
    )
    size: Size
    maximum: Maximum = MAX_POOL
    schedule: Schedule = ()
    max_age_seconds: MaxAge = DEFAULT_AGE_SECONDS


class PoolChangeRequest(Strict):
    """What is to change of a pool; what is left out stays as it is. Its shape cannot: make another pool."""

    size: Size = 0
    maximum: Maximum = 0
    schedule: Schedule = ()
    max_age_seconds: MaxAge = DEFAULT_AGE_SECONDS

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing to change: give at least one of size, maximum, schedule and max_age_seconds")
        return self
