"""A cluster's expiry, and the time of its next check."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.expiry import expiry, is_over, must_hibernate, must_stop, next_look
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold, Purpose
from dayfly.domain.cluster.spec import VmsUnderHold
from tests.support.specs import make_cluster, make_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def cluster(*, ttl: int | None = None, heartbeat: int | None = None, **more: object) -> Cluster:
    spec = make_spec().model_copy(update={"ttl_seconds": ttl, "heartbeat_interval_seconds": heartbeat})
    made = replace(make_cluster(spec), phase=Phase.READY, ready_at=NOW, heartbeat_at=NOW, **more)  # type: ignore[arg-type]
    end = expiry(made)
    return replace(made, expires_at=end.at if end else None)


def hold(seconds: float, vms: VmsUnderHold = "running") -> Hold:
    return Hold(at(seconds), "to look at it", vms)


def test_time_to_live_counts_from_ready() -> None:
    end = expiry(cluster(ttl=3600))
    assert end is not None
    assert (end.at, end.reason, end.warn_at) == (at(3600), "ttl", at(3300))


def test_before_it_is_ready_no_time_runs() -> None:
    assert expiry(replace(cluster(ttl=3600), ready_at=None, phase=Phase.PENDING)) is None


def test_a_failed_one_has_its_time_too() -> None:
    end = expiry(replace(cluster(ttl=60), ready_at=None, failed_at=at(10), phase=Phase.FAILED))
    assert end is not None
    assert end.at == at(70)


def test_the_earlier_end_counts() -> None:
    end = expiry(cluster(ttl=3600, heartbeat=30))
    assert end is not None
    assert (end.at, end.reason, end.warn_at) == (at(30), "heartbeat", at(24))


def test_nothing_ends_what_has_no_end() -> None:
    assert expiry(cluster()) is None
    assert next_look(cluster(), NOW) is None


def test_looks_are_for_the_warning_then_for_the_end() -> None:
    one = cluster(ttl=100)
    assert next_look(one, NOW) == at(80)
    assert next_look(one, at(85)) == at(85), "a warning that is late is due at once"
    assert next_look(replace(one, warned_at=at(80)), at(85)) == at(100)
    assert next_look(replace(one, warned_at=at(80)), at(101)) == at(101)


def test_a_hold_keeps_what_is_over_until_it_lapses() -> None:
    one = cluster(ttl=100, hold=hold(500), warned_at=at(80))
    assert not is_over(one, at(200))
    assert next_look(one, at(200)) == at(500)
    assert is_over(one, at(501))
    assert next_look(one, at(501)) == at(501)


def test_a_hold_may_stop_the_machines_at_the_end() -> None:
    one = cluster(ttl=100, hold=hold(500, "stopped"), warned_at=at(80))
    assert not must_stop(one, at(99))
    assert must_stop(one, at(100))
    assert next_look(one, at(100)) == at(100)
    stopped = replace(one, phase=Phase.FAILED, reserved=True)
    assert next_look(stopped, at(101)) == at(500)


def test_a_failed_one_is_cleared_when_its_hold_lapses() -> None:
    failed = replace(cluster(hold=hold(50)), phase=Phase.FAILED, reserved=True)
    assert next_look(failed, at(10)) == at(50)
    assert next_look(failed, at(51)) == at(51)
    assert next_look(replace(failed, reserved=False), at(51)) is None


def test_what_is_to_be_gone_is_due_and_what_is_gone_never() -> None:
    assert next_look(replace(cluster(), desired=Desired.ABSENT), NOW) == NOW
    assert next_look(replace(cluster(ttl=1), phase=Phase.DELETED), at(10)) is None


@pytest.mark.parametrize(
    ("requested", "look"),
    [
        ({}, None),
        ({"reset_to": IMAGE}, NOW),
        ({"desired": Desired.HIBERNATED}, NOW),
        ({"paused": True}, NOW),
        ({"purpose": Purpose.TEMPLATE}, NOW),
        ({"purpose": Purpose.VERIFICATION}, NOW),
        ({"purpose": Purpose.POOL_MEMBER}, NOW),
        ({"purpose": Purpose.POOL_MEMBER, "paused": True}, None),
        ({"phase": Phase.HIBERNATED, "desired": Desired.HIBERNATED}, None),
        ({"phase": Phase.HIBERNATED}, NOW),
        ({"phase": Phase.PROVISIONING, "reset_to": IMAGE}, None),
    ],
    ids=str,
)
def test_what_is_requested_is_due_at_once(requested: dict[str, object], look: datetime | None) -> None:
    assert next_look(replace(cluster(), **requested), NOW) == look  # type: ignore[arg-type]


def test_who_is_kept_hibernated_sleeps_until_the_hold_ends() -> None:
    kept = cluster(ttl=60, hold=hold(600, "hibernated"), warned_at=NOW)
    assert not must_hibernate(kept, NOW)
    assert must_hibernate(kept, at(60))
    assert not must_stop(kept, at(60))
    assert next_look(kept, at(60)) == at(60)
    asleep = replace(kept, phase=Phase.HIBERNATED)
    assert next_look(asleep, at(60)) == at(600)
    assert next_look(asleep, at(600)) == at(600)
    assert is_over(asleep, at(600))


def test_who_may_be_idle_is_looked_at_now_and_then() -> None:
    made = cluster()
    idle = replace(made, spec=made.spec.model_copy(update={"idle_seconds": 400}))
    assert next_look(idle, NOW) == at(100)
    assert next_look(replace(idle, phase=Phase.HIBERNATED, desired=Desired.HIBERNATED), NOW) is None
    assert next_look(replace(idle, purpose=Purpose.POOL_MEMBER, paused=True), NOW) is None
