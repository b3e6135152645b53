"""The fair queue: which request fits, and which is next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dayfly.domain.scheduling.fair_queue import DurationStats, Occupant, Queue, Waiting, admissible, in_order, outlook
from dayfly.domain.scheduling.resources import (
    CLUSTER_OVERHEAD_MIB,
    NODE_OVERHEAD_MIB,
    CapacityRules,
    Resources,
    demand,
    hibernated_demand,
)
from tests.support.specs import SIZE, make_spec

HOST = Resources(8, 8192, 100)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def waiting(name: str, owner: str = "a", vcpus: int = 1, *, background: bool = False) -> Waiting:
    return Waiting(name, owner, Resources(vcpus, 512, 8), background=background)


def ids(line: tuple[Waiting, ...]) -> str:
    return " ".join(one.id for one in line)


def test_verifications_of_bakes_come_after_callers_and_before_background_clusters() -> None:
    bake = replace(waiting("bake", owner="a"), bake=True)
    line = [waiting("later", owner="a", background=True), bake, waiting("caller", owner="a")]
    assert ids(in_order(Queue(line, {}), HOST)) == "caller bake later"


def test_a_cluster_needs_what_its_nodes_and_their_machinery_need() -> None:
    needs = demand(make_spec(workers=2))
    assert needs.vcpus == 3 * SIZE.vcpus
    assert needs.memory_mib == 3 * (SIZE.memory_mib + NODE_OVERHEAD_MIB) + CLUSTER_OVERHEAD_MIB
    assert needs.disk_gib == 3 * SIZE.disk_gib


def test_forks_may_be_promised_the_memory_that_they_share() -> None:
    whole, shared = demand(make_spec(workers=1)), demand(make_spec(workers=1), memory_factor=1.5)
    assert whole.memory_mib - shared.memory_mib == 2 * (SIZE.memory_mib - 342)
    assert (shared.vcpus, shared.disk_gib) == (whole.vcpus, whole.disk_gib)


def test_a_host_offers_what_is_beside_its_reserve_times_the_overcommit() -> None:
    rules = CapacityRules(2.0, 1.5, 3.0, reserve_memory_mib=1024, reserve_disk_gib=10)
    assert rules.offered(Resources(4, 3072, 110)) == Resources(8, 3072, 300)
    assert rules.offered(Resources(1, 512, 5)) == Resources(2, 0, 0)


def test_within_one_owner_first_come_first_served() -> None:
    queue = Queue([waiting("1"), waiting("2", vcpus=4), waiting("3")], {})
    assert ids(in_order(queue, HOST)) == "1 2 3"


def test_owners_take_turns_by_the_share_they_have() -> None:
    queue = Queue([waiting("a1"), waiting("a2"), waiting("a3"), waiting("b1", "b"), waiting("b2", "b")], {})
    assert ids(in_order(queue, HOST)) == "a1 b1 a2 b2 a3"


def test_an_owner_of_twice_the_weight_gets_twice_the_share() -> None:
    line = [waiting(f"{owner}{number}", owner) for number in range(1, 7) for owner in "ab"]
    order = ids(in_order(Queue(line, {}, weights={"b": 2.0}), HOST)).split()
    assert sum(one.startswith("b") for one in order[:9]) == 6
    order = ids(in_order(Queue(line, {}, weights={"b": 2.0}, common_weight=2.0), HOST)).split()
    assert sum(one.startswith("b") for one in order[:6]) == 3


def test_who_holds_nothing_goes_before_who_holds_much() -> None:
    queue = Queue([waiting("a1"), waiting("b1", "b")], {"a": Resources(4, 512, 8)})
    assert ids(in_order(queue, HOST)) == "b1 a1"


def test_nobody_overtakes_who_is_next() -> None:
    queue = Queue([waiting("big", vcpus=6), waiting("small")], {"c": Resources(4, 512, 8)})
    assert admissible(queue, HOST) == ()


def test_all_that_fits_begins() -> None:
    queue = Queue([waiting(str(n)) for n in range(10)], {"c": Resources(3, 0, 0)})
    assert ids(admissible(queue, HOST)) == "0 1 2 3 4"


def test_what_nobody_waits_for_comes_last() -> None:
    later = [waiting("later", "c", background=True), waiting("much", "d", vcpus=8, background=True)]
    queue = Queue([*later, waiting("a1"), waiting("a2"), waiting("b1", "b")], {"a": Resources(1, 512, 8)})
    assert ids(in_order(queue, HOST)) == "b1 a1 a2 later much"
    assert ids(admissible(queue, HOST)) == "b1 a1 a2 later"


def test_what_nobody_waits_for_is_fair_between_owners_too() -> None:
    later = [waiting(name, name[0], background=True) for name in ("a1", "a2", "b1")]
    assert ids(in_order(Queue(later, {}), HOST)) == "a1 b1 a2"
    assert ids(in_order(Queue([*later, waiting("a3")], {}), HOST)) == "a3 b1 a1 a2"


def test_what_nobody_waits_for_takes_nothing_from_who_does_not_fit_yet() -> None:
    queue = Queue([waiting("small", background=True), waiting("big", vcpus=6)], {"c": Resources(4, 512, 8)})
    assert admissible(queue, HOST) == ()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 8), st.booleans()), max_size=12),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 8), max_size=4),
)
def test_never_more_than_is_offered_and_nobody_is_lost(
    requests: list[tuple[str, int, bool]], held: dict[str, int]
) -> None:
    line = [
        waiting(str(number), owner, vcpus, background=background)
        for number, (owner, vcpus, background) in enumerate(requests)
    ]
    queue = Queue(line, {owner: Resources(vcpus, 0, 0) for owner, vcpus in held.items()})
    order = in_order(queue, HOST)
    assert sorted(one.id for one in order) == sorted(one.id for one in line)
    assert [one.background for one in order] == sorted(one.background for one in order)
    for owner, background in itertools.product("abc", (False, True)):
        own = [one for one in order if (one.owner, one.background) == (owner, background)]
        assert own == [one for one in line if (one.owner, one.background) == (owner, background)]
    begun = admissible(queue, HOST)
    assert begun == order[: len(begun)]
    if begun:
        assert sum((one.needs for one in begun), queue.in_use).fits(HOST)


def start_of(name: str, queue: Queue, occupants: Sequence[Occupant], past: DurationStats) -> datetime | None:
    """The estimated start of the request of that name."""
    return {waiting.id: start for waiting, start in outlook(queue, occupants, HOST, past, NOW)}.get(name)


def test_an_estimate_follows_ends_and_typical_lives() -> None:
    full = [Occupant(Resources(4, 512, 8), NOW - timedelta(seconds=50), None) for _ in range(2)]
    queue = Queue([waiting("1", vcpus=4), waiting("2", vcpus=4)], {"c": Resources(8, 1024, 16)})
    past = DurationStats(life_seconds=100.0)

    assert start_of("1", queue, full, past) == start_of("2", queue, full, past) == NOW + timedelta(seconds=50)
    third = Queue([*queue.waiting, waiting("3")], queue.held)
    assert start_of("3", third, full, past) == NOW + timedelta(seconds=150)


def test_an_expiry_is_believed_before_a_typical_life() -> None:
    soon = NOW + timedelta(seconds=5)
    full = [Occupant(Resources(8, 512, 8), NOW, soon)]
    queue = Queue([waiting("1")], {"c": Resources(8, 512, 8)})
    assert start_of("1", queue, full, DurationStats(life_seconds=3600.0)) == soon
    assert start_of("1", queue, full, DurationStats()) == soon


@pytest.mark.parametrize("past", [DurationStats(), DurationStats(provisioning_seconds=3.0)])
def test_without_a_past_there_is_no_telling(past: DurationStats) -> None:
    full = [Occupant(Resources(8, 512, 8), NOW, None)]
    queue = Queue([waiting("1")], {"c": Resources(8, 512, 8)})
    assert start_of("1", queue, full, past) is None


def test_who_needs_nothing_of_what_is_overdrawn_goes_on() -> None:
    # Checkpoints, for one, are made without asking for room.
    sleeper = Waiting("sleeper", "a", Resources(1, 512, 0))
    queue = Queue((sleeper, waiting("new")), {"a": Resources(0, 0, 90)}, saved_gib=20)
    assert ids(admissible(queue, HOST)) == "sleeper"
    [(first, at), (second, never)] = outlook(queue, [], HOST, DurationStats(), NOW)
    assert ((first.id, at), (second.id, never)) == (("sleeper", NOW), ("new", None))


def test_who_sleeps_has_its_disks_and_its_memory_on_disk() -> None:
    assert hibernated_demand(make_spec(workers=2)) == Resources(0, 0, 3 * SIZE.disk_gib + 2)
