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
