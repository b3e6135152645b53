"""The rules of quotas."""

from __future__ import annotations

import pytest

from dayfly.domain.quota import (
    Given,
    Quota,
    exceeded,
    first_exceeded,
    isolation_of,
    limits_from,
    quota_of,
    require_long_poll,
    require_ttl,
)
from dayfly.errors import IsolationRequired, LongPollsExceeded, QuotaExceeded
from dayfly.vocabulary import Isolation, TeamIsolation


def test_a_team_has_its_own_limits_and_else_the_defaults() -> None:
    default = Given({"clusters": 10, "vcpus": 20, "disk_gib": None}, 2.0)
    team = Given({"clusters": 5, "vcpus": None})
    assert quota_of(team, default) == Quota({"clusters": 5, "vcpus": None, "disk_gib": None}, 2.0)
    assert quota_of(Given(weight=3.0), default).weight == 3.0
    assert quota_of(None, default) == Quota({"clusters": 10, "vcpus": 20, "disk_gib": None}, 2.0)
    assert quota_of(None, None) == Quota()
    strict = Given(isolation="strict")
    assert quota_of(None, strict).isolation == quota_of(strict, Given(isolation="shared")).isolation == "strict"


@pytest.mark.parametrize(
    ("used", "wanted", "expected"),
    [
        ({"clusters": 1, "vcpus": 2}, {"clusters": 1, "vcpus": 2}, None),
        ({"clusters": 2, "vcpus": 2}, {"clusters": 1, "vcpus": 2}, "clusters"),
        ({"clusters": 1, "vcpus": 3}, {"clusters": 1, "vcpus": 2}, "vcpus"),
        ({"clusters": 9, "vcpus": 9}, {"memory_mib": 10**9}, None),
        ({"clusters": 9, "vcpus": 2}, {"clusters": 0, "vcpus": 2}, None),
    ],
)
def test_what_is_exceeded(used: dict[str, int], wanted: dict[str, int], expected: str | None) -> None:
    assert first_exceeded(Quota({"clusters": 2, "vcpus": 4, "memory_mib": None}), used, wanted) == expected


def test_a_limit_of_nothing_allows_nothing() -> None:
    assert first_exceeded(Quota({"templates": 0}), {"templates": 0}, {"templates": 1}) == "templates"


@pytest.mark.parametrize(("ttl", "ok"), [(60, True), (61, False), (None, False)])
def test_the_longest_time_to_live(ttl: int | None, ok: bool) -> None:
    require_ttl("ci", Quota(), ttl)
    if ok:
        require_ttl("ci", Quota({"max_ttl_seconds": 60}), ttl)
        return
    with pytest.raises(QuotaExceeded, match="team ci live at most 60 s") as refused:
        require_ttl("ci", Quota({"max_ttl_seconds": 60}), ttl)
    assert (refused.value.quota, refused.value.limit) == ("max_ttl_seconds", 60)


def test_a_refusal_names_what_takes_most() -> None:
    error = exceeded("ci", "vcpus", 4, 3, 2, (("big", 2), ("small", 1)))
    assert error.message == "vcpus: team ci may have 4, has 3 (big 2, small 1), and the request needs 2 more"
    assert (error.code, error.team, error.largest) == ("quota_exceeded", "ci", (("big", 2), ("small", 1)))
    assert exceeded("ci", "clusters", 0, 0, 1, ()).message.endswith("has 0, and the request needs 1 more")


def test_limits_of_a_newer_release_are_left_out() -> None:
    assert limits_from({"clusters": 1, "gpus": 2, "vcpus": None}) == {"clusters": 1, "vcpus": None}


@pytest.mark.parametrize(
    ("of_team", "asked", "expected"),
    [
        ("shared", None, "shared"),
        ("shared", "shared", "shared"),
        ("shared", "strict", "strict"),
        ("strict", None, "strict"),
        ("strict", "shared", "shared"),
        ("strict", "strict", "strict"),
        ("strict_only", None, "strict"),
        ("strict_only", "shared", None),
        ("strict_only", "strict", "strict"),
    ],
)
def test_the_isolation_of_a_teams_clusters(
    of_team: TeamIsolation, asked: Isolation | None, expected: Isolation | None
) -> None:
    quota = Quota(isolation=of_team)
    if expected is not None:
        assert isolation_of("ci", quota, asked) == expected
        return
    with pytest.raises(IsolationRequired, match="isolation: clusters of team ci must be `strict`"):
        isolation_of("ci", quota, asked)


def test_long_polls() -> None:
    require_long_poll("ci", Quota(), {"getCluster": 10**6})
    require_long_poll("ci", Quota({"long_polls": 3}), {"getCluster": 1, "listEvents": 1})
    with pytest.raises(LongPollsExceeded) as refused:
        require_long_poll("ci", Quota({"long_polls": 3}), {"getCluster": 1, "listEvents": 2})
    error = refused.value
    assert (error.quota, error.limit, error.used, error.wanted) == ("long_polls", 3, 3, 1)
    assert error.largest == (("listEvents", 2), ("getCluster", 1))
    with pytest.raises(LongPollsExceeded):
        require_long_poll("ci", Quota({"long_polls": 0}), {})
