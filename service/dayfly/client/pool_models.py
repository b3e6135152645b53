"""Responses about pools, as typed values; and a pool's schedule, both ways."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from dayfly.client.models import Answer
from dayfly.client.template_models import Shape

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Period(Answer):
    """A part of the week in which a pool has another size: days, and times in UTC as `07:00`; a day ends at `24:00`."""

    days: tuple[Day, ...]
    since: str
    until: str
    size: int


class PoolCondition(Answer):
    """Why a pool is not filled: a stable code, and a sentence."""

    code: str
    message: str


class Pool(Shape):
    """Warm clusters that wait for callers. `desired_size`: how many should wait now; `ready`: how many do.

    `provisioning`: how many are queued or being provisioned. `condition`: why the pool cannot be filled.
    """

    id: str
    name: str
    owner: str
    created_at: datetime
    size: int
    maximum: int
    schedule: tuple[Period, ...] = ()
    max_age_seconds: int
    desired_size: int = 0
    ready: int = 0
    provisioning: int = 0
    condition: PoolCondition | None = None


class PoolList(Answer):
    pools: tuple[Pool, ...]
