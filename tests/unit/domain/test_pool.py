"""A pool's size by the hour, and its surplus members."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Fault, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import INSUFFICIENT_CAPACITY, Period, Pool, pool_condition, surplus_members
from dayfly.domain.template import template_key, without_caller_options
from tests.support.specs import make_cluster, make_spec

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
WORKDAYS = frozenset(range(5))
SPEC = make_spec()
RETRY_SECONDS = 60


def pool(size: int = 2, maximum: int = 8, *schedule: Period, spec: ClusterSpec = SPEC) -> Pool:
    return Pool("p", "warm", "default", spec, size, maximum, MONDAY, schedule, max_age_seconds=3600)


def member(number: int, *, minutes: float = 0, spec: ClusterSpec = SPEC, **changes: object) -> Cluster:
    """One that waits, made and ready so many minutes before MONDAY."""
    made = MONDAY - timedelta(minutes=minutes)
    waiting = replace(
        make_cluster(spec, cluster_id=f"{number:012x}"),
        purpose=Purpose.POOL_MEMBER, pool_id="p", phase=Phase.READY, paused=True, created_at=made, updated_at=made,
        ready_at=made,
    )  # fmt: skip
    return replace(waiting, **changes)  # type: ignore[arg-type]


def going(of: Pool, *members: Cluster, renewable: bool = True) -> list[int]:
    found = surplus_members(of, SPEC.shape, members, MONDAY, retry_seconds=RETRY_SECONDS, renewable=renewable)
    return [int(cluster_id, 16) for cluster_id in found]


@pytest.mark.parametrize(
    ("moment", "size"),
    [
        (MONDAY + timedelta(hours=7, minutes=59), 2),
        (MONDAY + timedelta(hours=8), 5),
        (MONDAY + timedelta(hours=17, minutes=59, seconds=59), 5),
        (MONDAY + timedelta(hours=18), 1),
        (MONDAY + timedelta(hours=23, minutes=59, seconds=59), 1),
        (MONDAY + timedelta(days=1), 2),
        (MONDAY + timedelta(days=5, hours=9), 2),
    ],
)
def test_a_schedule_changes_the_size(moment: datetime, size: int) -> None:
    day = Period(WORKDAYS, time(8), time(18), 5)
    evening = Period(WORKDAYS, time(18), time.max, 1)
    assert pool(2, 8, day, evening).desired_size(moment) == size


def test_the_first_period_counts_and_the_maximum_bounds_all() -> None:
    whole_day = Period(frozenset(range(7)), time(), time.max, 9)
    assert pool(2, 4, whole_day, replace(whole_day, size=1)).desired_size(MONDAY) == 4
    assert pool(9, 4).desired_size(MONDAY) == 4


def test_a_pool_that_never_has_a_member_needs_no_template() -> None:
    assert pool(0).largest == 0
    assert pool(5, 0).largest == 0
    assert pool(0, 8, Period(WORKDAYS, time(8), time(18), 3)).largest == 3


def test_members_that_wait_stay() -> None:
    assert going(pool(), member(1), member(2)) == []


def test_of_too_many_the_unfinished_go_first_then_the_oldest() -> None:
    unfinished = member(1, minutes=1, phase=Phase.PROVISIONING, paused=False)
    old, young = member(2, minutes=30), member(3, minutes=2)
    assert going(pool(1), old, young, unfinished) == [1, 2]
    assert going(pool(0), old) == [2]


def test_those_of_another_shape_go_at_once() -> None:
    rebuilt = make_spec(image_id="sha256:" + "cd" * 32)
    assert rebuilt.shape != SPEC.shape
    assert going(pool(), member(1, spec=rebuilt), member(2, spec=rebuilt)) == [1, 2]


def test_one_that_failed_goes_after_a_while() -> None:
    since = MONDAY - timedelta(seconds=RETRY_SECONDS - 1)
    failed = member(1, phase=Phase.FAILED, paused=False, failed_at=since, ready_at=None)
    assert going(pool(), failed, member(2)) == []
    earlier = replace(failed, failed_at=MONDAY - timedelta(seconds=RETRY_SECONDS))
    assert going(pool(), earlier, member(2)) == [1]
    assert going(pool(), replace(failed, ready_at=MONDAY), member(2)) == [1], "it was whole: the next will be"


def test_the_old_go_one_by_one_and_only_while_the_others_wait() -> None:
    oldest, old, young = member(1, minutes=70), member(2, minutes=65), member(3, minutes=5)
    assert going(pool(3), oldest, old, young) == [1]
    assert going(pool(3), oldest, old, replace(young, paused=False)) == []
    assert going(pool(4), oldest, old, young) == [], "another one is missing already"
    assert going(pool(3), oldest, old, young, renewable=False) == [], "there would be none in its place"


def test_how_long_one_was_in_the_queue_is_not_how_long_it_has_waited_ready() -> None:
    assert going(pool(1), member(1, minutes=70, ready_at=MONDAY - timedelta(minutes=5))) == []


def test_one_that_is_to_go_already_counts_no_more() -> None:
    assert going(pool(1), member(1, desired=Desired.ABSENT), member(2)) == []


def test_a_shape_follows_the_image_and_no_caller_option_changes_the_key() -> None:
    other = SPEC.model_copy(update={"image_id": "sha256:other"})
    assert other.shape != SPEC.shape
    asked = SPEC.model_copy(update={"labels": {"job": "1"}, "ttl_seconds": 60, "idle_seconds": 60, "restart": "never"})
    assert without_caller_options(asked) == SPEC
    assert template_key(asked, "me", "tcg", "a") == template_key(SPEC, "me", "tcg", "b")
    assert template_key(SPEC, "me", "kvm", "a") != template_key(SPEC, "me", "kvm", "b")
    assert template_key(SPEC, "me", "tcg", "") != template_key(SPEC, "you", "tcg", "")


def test_members_that_wait_or_are_made_are_no_obstacle() -> None:
    made = member(2, phase=Phase.PROVISIONING, paused=False, admitted_at=MONDAY)
    queued = member(3, phase=Phase.PENDING, paused=False, minutes=0.1)
    assert pool_condition([member(1), made, queued], MONDAY) is None


def test_one_that_finds_no_room_or_failed_is_an_obstacle() -> None:
    queued = member(1, phase=Phase.PENDING, paused=False, minutes=1)
    failed = member(2, phase=Phase.FAILED, fault=Fault("vm_exited", "QEMU ended"))
    found = pool_condition([queued], MONDAY)
    assert found is not None
    assert (found.code, queued.id in found.message) == (INSUFFICIENT_CAPACITY, True)
    found = pool_condition([queued, failed], MONDAY)
    assert found is not None
    assert (found.code, found.message) == ("vm_exited", f"member {failed.id} failed: QEMU ended")
