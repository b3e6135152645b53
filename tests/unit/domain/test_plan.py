"""The plan: what waits for what."""

from __future__ import annotations

import pytest

from dayfly.domain.plan import PlannedStep, plan_creation
from dayfly.domain.spec import ClusterSpec
from tests.support.specs import make_spec


def by_key(spec: ClusterSpec) -> dict[tuple[str, int | None], PlannedStep]:
    return {step.key: step for step in plan_creation(spec)}


@pytest.mark.parametrize("kubernetes", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 5])
@pytest.mark.parametrize("readiness", ["booted", "nodes", "usable"])
def test_whatever_is_waited_for_comes_before(kubernetes, workers, readiness) -> None:
    seen: set[tuple[str, int | None]] = set()
    for step in plan_creation(make_spec(workers=workers, kubernetes=kubernetes, readiness=readiness)):
        assert step.after <= seen
        assert step.key not in seen
        seen.add(step.key)


def test_nodes_boot_at_once_and_a_join_waits_for_no_other_nodes_boot() -> None:
    steps = by_key(make_spec(workers=2, kubernetes=True))
    assert {steps["boot", i].after for i in (1, 2, 3)} == {frozenset({("sandbox", None)})}
    assert steps["join", 3].after == {("control_plane", 1), ("boot", 3)}


def test_readiness_decides_what_is_done() -> None:
    def names(readiness: str) -> set[str]:
        return {step.name for step in plan_creation(make_spec(workers=1, kubernetes=True, readiness=readiness))}

    assert names("booted") == {"sandbox", "boot"}
    assert names("nodes") == names("booted") | {"control_plane", "join", "ready"}
    assert names("usable") == names("nodes") | {"smoke"}


def test_without_kubernetes_booted_is_all_there_is() -> None:
    assert set(by_key(make_spec(workers=1))) == {("sandbox", None), ("boot", 1), ("boot", 2)}
