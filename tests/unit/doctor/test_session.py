"""The session's operations for trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from dayfly.client import AsyncClient, Event
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import Session


def event(number: int, type_: str, message: str = "") -> Event:
    absent = dict.fromkeys(("step", "node", "seconds", "code"))
    known = {"id": number, "at": "2026-01-01T00:00:00Z", "type": type_, "message": message}
    return Event.model_validate({**absent, **known})


@dataclass
class Api:
    """A client of a cluster with these events."""

    events: tuple[Event, ...]

    async def all_events(self, cluster: str) -> tuple[Event, ...]:
        return self.events


def session(*events: Event) -> Session:
    made = object.__new__(Session)
    made.api = cast("AsyncClient", Api(events))
    return made


@pytest.mark.parametrize("type_", ["cluster.fallback", "cluster.not_forked"])
async def test_machines_that_were_booted_fail_the_trial_of_a_restore(type_: str) -> None:
    seen = session(event(1, "cluster.forked"), event(2, type_, "boots from its image: no"))
    with pytest.raises(TrialFailed, match="boots from its image: no"):
        await seen.require_no_fallback("0123456789ab", after=1)
    await seen.require_no_fallback("0123456789ab", after=2)
