"""The provisioning plan: dependencies of steps."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.domain.cluster.provisioning_plan import PlannedStep, plan_steps
from dayfly.domain.cluster.spec import ClusterSpec, Readiness
from tests.support.specs import make_spec

CHECKPOINT = BootSource("checkpoint", "before")


def by_key(spec: ClusterSpec) -> dict[tuple[str, int | None], PlannedStep]:
    return {step.key: step for step in plan_steps(spec)}


@pytest.mark.parametrize("kubernetes", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 5])
@pytest.mark.parametrize("readiness", ["booted", "nodes", "usable"])
@pytest.mark.parametrize("origin", [None, IMAGE, TEMPLATE, CHECKPOINT, HIBERNATION], ids=str)
@pytest.mark.parametrize("generation", [1, 2])
def test_whatever_is_waited_for_comes_before(
    kubernetes: bool, workers: int, readiness: Readiness, origin: BootSource | None, generation: int
) -> None:
    seen: set[tuple[str, int | None]] = set()
    spec = make_spec(workers=workers, kubernetes=kubernetes, readiness=readiness)
    for step in plan_steps(spec, origin, generation=generation):
        assert step.after <= seen
        assert step.key not in seen
        seen.add(step.key)


@pytest.mark.parametrize("readiness", ["nodes", "usable"])
@pytest.mark.parametrize("origin", [None, IMAGE, TEMPLATE, CHECKPOINT, HIBERNATION], ids=str)
def test_ready_looks_after_everything_else(readiness: Readiness, origin: BootSource | None) -> None:
    *others, last = plan_steps(make_spec(workers=2, kubernetes=True, readiness=readiness), origin, generation=2)
    assert last == PlannedStep("ready", None, frozenset(step.key for step in others))


def test_nodes_boot_at_once_and_a_join_waits_for_no_other_node() -> None:
    steps = by_key(make_spec(workers=2, kubernetes=True))
    assert {steps["boot", i].after for i in (1, 2, 3)} == {frozenset({("sandbox", None)})}
    assert steps["join", 3].after == {("boot", 3)}


def test_readiness_decides_what_is_done() -> None:
    def names(readiness: Readiness) -> set[str]:
        return {step.name for step in plan_steps(make_spec(workers=1, kubernetes=True, readiness=readiness))}

    assert names("booted") == {"sandbox", "registry", "boot"}
    assert names("nodes") == names("booted") | {"control_plane", "join", "ready"}
    assert names("usable") == names("nodes") | {"smoke_test"}


def test_without_kubernetes_booted_is_all_there_is() -> None:
    assert set(by_key(make_spec(workers=1))) == {("sandbox", None), ("registry", None), ("boot", 1), ("boot", 2)}


def names(origin: BootSource | None, *, generation: int = 1, kubernetes: bool = True) -> list[str]:
    spec = make_spec(workers=1, kubernetes=kubernetes)
    return [step.name for step in plan_steps(spec, origin, generation=generation)]


def test_machines_that_were_saved_are_loaded_and_only_forks_have_to_become_themselves() -> None:
    assert names(TEMPLATE) == ["sandbox", "restore", "personalize", "personalize", "registry", "ready"]
    assert names(CHECKPOINT) == ["sandbox", "registry", "restore", "ready"]
    assert names(HIBERNATION) == ["sandbox", "registry", "restore", "ready"]
    assert names(TEMPLATE, kubernetes=False) == ["sandbox", "registry", "restore", "personalize", "personalize"]
    assert names(HIBERNATION, kubernetes=False) == ["sandbox", "registry", "restore", "ready"]
    assert names(CHECKPOINT, kubernetes=False) == ["sandbox", "registry", "restore", "ready"]


def test_an_earlier_generation_is_cleared_away_unless_its_disks_are_kept() -> None:
    assert "remove_stale" not in names(IMAGE)
    for origin in (IMAGE, TEMPLATE, CHECKPOINT):
        assert names(origin, generation=2) == ["remove_stale", *names(origin)]
    for kept in (None, HIBERNATION):
        assert names(kept, generation=2) == names(kept)


def test_a_forks_registry_leaves_the_processors_to_its_control_plane_first() -> None:
    for kubernetes, ground in {True: ("personalize", 1), False: ("sandbox", None)}.items():
        steps = plan_steps(make_spec(workers=1, kubernetes=kubernetes), TEMPLATE)
        assert [step.after for step in steps if step.name == "registry"] == [{ground}]


def test_of_a_forks_nodes_the_control_plane_is_itself_first() -> None:
    for kubernetes, before in {True: ("personalize", 1), False: ("restore", None)}.items():
        steps = plan_steps(make_spec(workers=2, kubernetes=kubernetes), TEMPLATE)
        assert [step.after for step in steps if step.name == "personalize"] == [{("restore", None)}, {before}, {before}]


def test_machines_wait_for_the_registry_only_where_its_content_is_given_back_with_them() -> None:
    for origin in (None, IMAGE, TEMPLATE, HIBERNATION, CHECKPOINT):
        steps = plan_steps(make_spec(workers=1, kubernetes=True), origin)
        waiting = [step.name for step in steps if ("registry", None) in step.after and step.name != "ready"]
        assert waiting == (["restore"] if origin == CHECKPOINT else [])


def test_an_image_and_disks_that_are_there_are_booted_alike() -> None:
    assert names(IMAGE) == names(None)


@pytest.mark.parametrize("origin", [None, IMAGE, TEMPLATE, CHECKPOINT, HIBERNATION], ids=str)
def test_conformance_specs_run_last_and_not_beside_what_a_caller_runs(origin: BootSource | None) -> None:
    plain = plan_steps(make_spec(workers=1, kubernetes=True), origin, generation=2)
    steps = plan_steps(make_spec(workers=1, kubernetes=True, conformance=["a"]), origin, generation=2)
    if origin in {IMAGE, TEMPLATE}:
        assert steps == (*plain, PlannedStep("conformance", None, frozenset(step.key for step in plain)))
    else:
        assert steps == plain
