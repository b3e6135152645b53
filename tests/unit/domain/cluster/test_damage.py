"""Damage of a cluster, detected from its containers alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from dayfly.domain.cluster.damage import RestartRules, damage
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from tests.support.specs import make_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = RestartRules(limit=3, backoff_seconds=1.0, window_seconds=600.0)


@dataclass
class Seen:
    name: str
    state: str = "running"
    started_at: datetime | None = NOW


@pytest.fixture
def topology() -> Topology:
    return compute_topology("c1", make_spec(workers=1), instance="i", accelerator="tcg", publication=Publication())


@pytest.fixture
def seen(topology: Topology) -> dict[str, Seen]:
    started = {"net": NOW, "registry": NOW + timedelta(seconds=1)}
    containers = (topology.net, topology.registry, *topology.nodes)
    return {
        c.node or c.role: Seen(c.name, started_at=started.get(c.role, NOW + timedelta(seconds=2))) for c in containers
    }


def test_whole(topology: Topology, seen: dict[str, Seen]) -> None:
    assert damage(topology, seen.values()) is None


def test_a_machine_that_ended(topology: Topology, seen: dict[str, Seen]) -> None:
    seen["node02"].state = "exited"
    found = damage(topology, seen.values())
    assert found is not None
    assert (found.kind, found.names) == ("exited", ("dayfly-c1-node02",))


def test_with_the_namespace_goes_all_that_runs_in_it(topology: Topology, seen: dict[str, Seen]) -> None:
    seen["net"].state = "exited"
    seen["node02"].state = "exited"
    found = damage(topology, seen.values())
    assert found is not None
    assert (found.kind, found.names) == ("exited", ("dayfly-c1-net", "dayfly-c1-node02"))
    assert found.stale == ("dayfly-c1-registry", "dayfly-c1-node01")


def test_all_down_at_once_is_the_engine(topology: Topology, seen: dict[str, Seen]) -> None:
    for status in seen.values():
        status.state = "exited"
    found = damage(topology, seen.values())
    assert found is not None
    assert found.kind == "restarted"


def test_what_was_removed_is_named_whatever_else_is_wrong(topology: Topology, seen: dict[str, Seen]) -> None:
    del seen["node01"]
    seen["node02"].state = "exited"
    found = damage(topology, seen.values())
    assert found is not None
    assert (found.kind, found.names) == ("removed", ("dayfly-c1-node01",))


def test_nothing_there_at_all_is_a_removal(topology: Topology) -> None:
    found = damage(topology, [])
    assert found is not None
    assert (found.kind, len(found.names)) == ("removed", 4)


def test_a_namespace_made_anew_leaves_the_others_behind(topology: Topology, seen: dict[str, Seen]) -> None:
    seen["net"].started_at = NOW + timedelta(minutes=1)
    found = damage(topology, seen.values())
    assert found is not None
    assert found.kind == "stale"
    assert set(found.stale) == {"dayfly-c1-registry", "dayfly-c1-node01", "dayfly-c1-node02"}


def test_restarts_are_bounded_and_each_waits_longer() -> None:
    pauses = [RULES.pause(count, NOW, NOW + timedelta(seconds=1)) for count in range(4)]
    assert pauses == [1.0, 2.0, 4.0, None]


def test_a_time_of_peace_forgives() -> None:
    assert RULES.pause(3, NOW, NOW + timedelta(seconds=601)) == 1.0
    assert RULES.pause(0, None, NOW) == 1.0
    assert RestartRules(0, 1.0, 600.0).pause(0, None, NOW) is None
