"""Add-ons: which are chosen, what is left of those that were removed, and their states."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from dayfly.domain.addon import (
    AddonDefinition,
    AddonError,
    AddonStatus,
    after_request,
    as_failed,
    as_ready,
    begun_again,
    pending,
    select_addons,
)
from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.domain.cluster.provisioning_plan import plan_steps
from dayfly.domain.template import Template, template_key, why_not_forked, without_caller_options
from dayfly.errors import InvalidRequest
from dayfly.vocabulary import AddonState, TemplatePhase
from tests.support.specs import make_addon, make_cluster, make_spec

READY, PENDING, FAILED, REMOVING = AddonState.READY, AddonState.PENDING, AddonState.FAILED, AddonState.REMOVING
WHY = AddonError("addon_failed", "no")


def definition(name: str, *needs: str) -> AddonDefinition:
    return AddonDefinition(name=name, description=f"{name}.", recipes=("k8s-test",), needs=needs)


KNOWN = {one.name: one for one in (definition("a"), definition("b", "a"), definition("c", "b", "a"), definition("d"))}


@pytest.mark.parametrize(
    ("names", "chosen"),
    [([], ""), (["a"], "a"), (["c"], "abc"), (["c", "a"], "abc"), (["d", "c"], "dabc"), (["b", "d"], "abd")],
)
def test_an_addon_comes_after_what_it_needs(names: list[str], chosen: str) -> None:
    assert "".join(one.name for one in select_addons(names, KNOWN)) == chosen


def test_an_unknown_addon_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="there is no add-on 'x'; there are: a, b, c, d"):
        select_addons(["a", "x"], KNOWN)
    with pytest.raises(InvalidRequest, match="there are: none"):
        select_addons(["x"], {})


def test_the_shape_of_a_cluster_without_addons_is_that_of_earlier_releases() -> None:
    """Existing templates stay usable."""
    plain = make_spec(workers=1, kubernetes=True)
    assert plain.shape == "c3d7732f164ea7653c088a3bd5a529ded14bda167f5bcc1de75dc42a52d46131"
    assert plain.with_addons([make_addon()]).with_addons([]).shape == plain.shape


def test_addons_are_part_of_the_shape() -> None:
    plain, tea = make_spec(kubernetes=True), make_spec(kubernetes=True, addons=[make_addon()])
    other = make_spec(kubernetes=True, addons=[make_addon(parts=["pot"])])
    assert len({plain.shape, tea.shape, other.shape}) == 3
    assert template_key(plain, "us", "kvm", "") != template_key(tea, "us", "kvm", "")
    assert without_caller_options(tea) == tea
    assert without_caller_options(plain.with_addons(tea.addons).with_addons(())).former_addons == ()


def test_the_reason_why_a_cluster_is_no_fork_names_addons() -> None:
    tea = make_spec(kubernetes=True, addons=[make_addon()])
    plain = make_spec(kubernetes=True)
    template = Template(
        id="t", key="k", owner="us", spec=tea, phase=TemplatePhase.READY, builder="b", created_at=datetime.now(UTC)
    )
    assert why_not_forked(plain, "us", "", [template]).endswith("has the add-ons tea, not no add-ons")
    other = make_spec(kubernetes=True, addons=[make_addon(parts=["pot"])])
    assert why_not_forked(other, "us", "", [template]).endswith("has add-ons of another release")


def test_a_removed_addon_leaves_the_names_of_its_objects() -> None:
    tea, milk = make_addon(), make_addon("milk", needs=["tea"])
    spec = make_spec(kubernetes=True, addons=[tea, milk])
    changed = spec.with_addons([tea])
    assert changed.addons == (tea,)
    (former,) = changed.former_addons
    assert (former.name, former.needs, former.ready_paths) == ("milk", ("tea",), ())
    named = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "milk-pot", "namespace": "kube-system"}}
    assert former.objects[1] == named
    again = changed.with_addons([tea, milk])
    assert (again.former_addons, again.addons_revision) == ((), 2)


def test_an_addon_that_a_cluster_has_keeps_its_content_until_it_is_removed() -> None:
    old, new = make_addon(parts=["cup", "pot"]), make_addon(parts=["pot", "jug"])
    spec = make_spec(kubernetes=True, addons=[old])
    assert spec.with_addons([new, make_addon("milk")]).addons[0] == old
    replaced = spec.with_addons([]).with_addons([new])
    assert replaced.addons == (new,)
    assert [item["metadata"]["name"] for one in replaced.former_addons for item in one.objects] == ["tea-cup"]
    gone = replaced.with_addons([])
    assert [item["metadata"]["name"] for one in gone.former_addons for item in one.objects] == [
        "tea-cup",
        "tea-pot",
        "tea-jug",
    ]


def test_states_from_a_beginning_to_a_removal() -> None:
    tea, milk = make_addon(), make_addon("milk")
    states = pending([tea, milk])
    assert as_ready(states) == (AddonStatus("tea", READY), AddonStatus("milk", READY))
    states = as_failed(as_ready(states), "milk", WHY)
    assert states == (AddonStatus("tea", READY), AddonStatus("milk", FAILED, WHY))
    assert begun_again(states) == (AddonStatus("tea", PENDING), AddonStatus("milk", FAILED, WHY))
    assert after_request(states, [tea, milk]) == (AddonStatus("tea", READY), AddonStatus("milk", PENDING))
    going = after_request(states, [milk])
    assert going == (AddonStatus("milk", PENDING), AddonStatus("tea", REMOVING))
    stuck = as_failed(going, "tea", WHY)
    assert stuck == (AddonStatus("milk", PENDING), AddonStatus("tea", REMOVING, WHY))
    assert [one.is_due for one in stuck] == [True, False]
    assert after_request(stuck, [milk]) == going
    assert as_ready(stuck) == (AddonStatus("milk", READY),)


def test_what_must_work_before_a_cluster_is_ready() -> None:
    """Add-ons that failed after a request do not; nor, on their own disks, those that are still to be installed."""
    names = ["works", "waits", "failed"]
    spec = make_spec(kubernetes=True, addons=[make_addon(name) for name in names])
    states = (AddonStatus("works", READY), AddonStatus("waits", PENDING), AddonStatus("failed", FAILED, WHY))
    expected = {None: ["works"], HIBERNATION: ["works"], IMAGE: ["works", "waits"], TEMPLATE: ["works", "waits"]}
    for source, wanted in expected.items():
        cluster = make_cluster(spec, addons=states, boot_source=source)
        assert [addon.name for addon in cluster.expected_addons] == wanted


@pytest.mark.parametrize(
    ("source", "has", "changed"),
    [
        (None, False, False),
        (HIBERNATION, False, False),
        (IMAGE, True, True),
        (TEMPLATE, False, True),
        (BootSource("checkpoint", "before"), False, True),
    ],
    ids=str,
)
def test_the_plan_installs_addons_where_machines_may_not_have_them(
    source: BootSource | None, has: bool, changed: bool
) -> None:
    """Between the smoke test and the last look. A cluster without add-ons has the plan of earlier releases."""
    spec = make_spec(workers=1, kubernetes=True, addons=[make_addon()])
    for one, wanted in ((spec, has), (spec.with_addons([make_addon(), make_addon("milk")]), changed)):
        steps = plan_steps(one, source, generation=2)
        assert [step.name for step in steps[-2:]] == (["addons", "ready"] if wanted else [steps[-2].name, "ready"])
        assert ("addons" in {step.name for step in steps}) is wanted
        if wanted:
            assert steps[-2].after == frozenset(step.key for step in steps[:-2])
    assert "addons" not in {step.name for step in plan_steps(make_spec(kubernetes=True), source)}
