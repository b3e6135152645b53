"""Pools over HTTP: requests and responses, a schedule included."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from dayfly.schemas.base import ChangeRequestModel, Code, Id, Open, RequestModel, ResponseModel
from dayfly.schemas.cluster_requests import ShapeRequest
from dayfly.schemas.clusters import Shape
from dayfly.schemas.json_schemas import NO_SPECS_BEFORE_READY
from dayfly.vocabulary import CLUSTER_NAME, Day

MAX_POOL: Final = 64
MAX_PERIODS: Final = 32
MIN_AGE_SECONDS: Final = 60
MAX_AGE_SECONDS: Final = 365 * 24 * 3600
DEFAULT_AGE_SECONDS: Final = 24 * 3600
END_OF_DAY: Final = "24:00"

_TIME: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
_UNTIL: Final = rf"{_TIME}|^24:00$"


class PeriodRequest(RequestModel):
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


Size = Annotated[int, Field(ge=0, le=MAX_POOL, description="How many members wait, outside of the schedule's periods.")]
Maximum = Annotated[
    int, Field(ge=0, le=MAX_POOL, description="The most that wait, whatever size and schedule say. 0 stops the pool.")
]
Schedule = Annotated[
    tuple[PeriodRequest, ...],
    Field(
        strict=False,  # JSON's arrays are lists
        max_length=MAX_PERIODS,
        description="The first period that has the moment gives the size instead of `size`.",
    ),
]
MaxAge = Annotated[
    int,
    Field(
        ge=MIN_AGE_SECONDS, le=MAX_AGE_SECONDS, description="A member that waited for so long makes room for a new one."
    ),
]


class PoolRequest(ShapeRequest):
    """A pool as a caller asks for it: members of this shape wait, paused, for clusters of this shape and owner."""

    model_config = ConfigDict(json_schema_extra=NO_SPECS_BEFORE_READY)

    name: str = Field(
        description="As that of a cluster; unique among the team's pools.",
        examples=["ci"],
        json_schema_extra={"pattern": f"^{CLUSTER_NAME.pattern}$"},
    )
    size: Size
    maximum: Maximum = MAX_POOL
    schedule: Schedule = ()
    max_age_seconds: MaxAge = DEFAULT_AGE_SECONDS


class PoolChangeRequest(ChangeRequestModel):
    """Update of a pool; omitted fields keep their values. The shape cannot change: create another pool."""

    size: Size = 0
    maximum: Maximum = 0
    schedule: Schedule = ()
    max_age_seconds: MaxAge = DEFAULT_AGE_SECONDS


class Period(ResponseModel):
    """A part of the week in which a pool has another size. Times are in UTC."""

    days: tuple[Open[Day], ...]
    since: str
    until: str
    size: int


class PoolCondition(ResponseModel):
    """Why a pool is not filled."""

    code: Code = Field(
        description="`template_building`: the template of the members is being built. `insufficient_capacity`: "
        "members are queued for a share of the host. Otherwise the code of the error that the template, a member or "
        "the image has."
    )
    message: str


class Pool(Shape):
    """Paused forks of one template, ready to be claimed."""

    id: Id
    name: Id
    owner: str
    created_at: datetime
    size: int
    maximum: int
    schedule: tuple[Period, ...]
    max_age_seconds: int
    desired_size: int = Field(description="How many members should wait now, by size, schedule and maximum.")
    ready: int = Field(description="How many members wait, and can be claimed at once.")
    provisioning: int = Field(description="How many members are queued or being provisioned.")
    condition: PoolCondition | None = Field(
        description="Why a worker could not fill the pool in its last attempt. null: nothing prevents it."
    )


class PoolList(ResponseModel):
    """All pools, by name."""

    pools: tuple[Pool, ...]
