"""The step `addons`: objects are applied in order, paths answer, and what was removed is gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dayfly.domain.addon import LABEL_ADDON, Addon, AddonError, AddonStatus, identity
from dayfly.domain.cluster.boot_source import IMAGE, TEMPLATE
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import EMULATED
from dayfly.errors import AddonFailed, VmExited
from dayfly.steps.addons import Addons
from dayfly.steps.ready import Ready
from dayfly.steps.step import StepContext
from dayfly.testing.fakes import FakeKube
from dayfly.vocabulary import AddonState
from tests.support.kube_world import SPEC, World, context_of
from tests.support.specs import make_addon

API = "127.0.0.1:46443"
TEA, MILK = make_addon(), make_addon("milk", needs=["tea"])


def of(spec: ClusterSpec, world: World | None = None) -> tuple[StepContext, FakeKube, list[str]]:
    """The context of a cluster that boots from its image."""
    context, progress = context_of(world or World())
    kube = FakeKube()
    cluster = replace(context.cluster, spec=spec, boot_source=IMAGE)
    return replace(context, cluster=cluster, drivers=replace(context.drivers, kube=kube)), kube, progress


def names(kube: FakeKube) -> list[str]:
    return [str(item["metadata"]["name"]) for item in kube.objects.get(API, {}).values()]


def with_addons(*addons: Addon) -> ClusterSpec:
    return SPEC.model_copy(update={"addons": addons})


async def test_addons_are_installed_in_order_and_then_hold() -> None:
    context, kube, progress = of(with_addons(TEA, MILK))
    assert not await Addons().check(context)
    await Addons().apply(context)
    assert names(kube) == ["tea-account", "tea-pot", "milk-account", "milk-pot"]
    assert [line for line in progress if "ready" in line] == ["the add-on tea is ready", "the add-on milk is ready"]
    assert await Addons().check(context)


async def test_a_repeated_attempt_completes_one_that_was_cut_off() -> None:
    context, kube, _ = of(with_addons(TEA))
    kube.objects[API] = {identity(TEA.objects[0]): TEA.objects[0]}
    assert not await Addons().check(context)
    await Addons().apply(context)
    assert names(kube) == ["tea-account", "tea-pot"]


async def test_a_missing_object_and_a_silent_path_are_seen() -> None:
    context, kube, _ = of(with_addons(TEA))
    await Addons().apply(context)
    kube.failing_paths["/apis/tea/ready"] = "no endpoints"
    assert not await Addons().check(context)
    kube.failing_paths.clear()
    del kube.objects[API][identity(TEA.objects[0])]
    assert not await Addons().check(context)
    kube.reachable = False
    assert not await Addons().check(context)


async def test_a_refusal_names_the_addon_and_has_the_answer() -> None:
    context, kube, _ = of(with_addons(TEA, MILK))
    kube.refused_objects["milk-pot"] = "no milk today"
    with pytest.raises(AddonFailed) as failed:
        await Addons().apply(context)
    error = failed.value
    assert error.message == "the add-on milk cannot be installed: milk-pot was refused: no milk today"
    assert (error.code, error.addon, error.evidence["answer"]) == ("addon_failed", "milk", "no milk today")
    assert {"kubelet/node01", "kubelet/node02"} <= error.evidence.keys()


async def test_an_addon_that_does_not_work_is_named_with_its_last_answer() -> None:
    context, kube, _ = of(with_addons(TEA))
    kube.failing_paths["/apis/tea/ready"] = "no endpoints"
    with pytest.raises(AddonFailed) as failed:
        await Addons().apply(context)
    assert failed.value.message.startswith("the add-on tea does not work: /apis/tea/ready not ready within ")
    assert failed.value.evidence["/apis/tea/ready"] == "no endpoints"


async def test_an_object_of_somebody_else_is_not_changed() -> None:
    context, kube, _ = of(with_addons(TEA))
    item = TEA.objects[1]
    theirs = {**item, "metadata": {**item["metadata"], "labels": {"app": "shop"}}, "data": {"their": "own"}}
    kube.objects[API] = {identity(theirs): theirs}
    assert not await Addons().check(context)
    with pytest.raises(AddonFailed, match=f"kube-system/tea-pot exists, and has not the label {LABEL_ADDON}=tea"):
        await Addons().apply(context)
    assert list(kube.objects[API].values()) == [theirs]


async def test_what_was_removed_is_gone_after_a_reset_that_brought_it_back() -> None:
    """Its dependents first; and nothing that has another label."""
    spec = with_addons(TEA, MILK).with_addons([])
    context, kube, _ = of(spec)
    kube.objects[API] = {identity(item): item for addon in (TEA, MILK) for item in addon.objects}
    other = make_addon("own").objects[0]
    kube.objects[API][identity(other)] = other
    context = replace(context, cluster=replace(context.cluster, boot_source=TEMPLATE))
    assert not await Addons().check(context)
    kube.refused_objects["tea-pot"] = "in use"
    with pytest.raises(AddonFailed, match="the add-on tea cannot be removed: tea-pot was refused: in use"):
        await Addons().apply(context)
    assert names(kube) == ["tea-account", "tea-pot", "own-account"]
    kube.refused_objects.clear()
    await Addons().apply(context)
    assert names(kube) == ["own-account"]
    assert await Addons().check(context)


async def test_an_addon_that_failed_after_a_request_is_left_alone() -> None:
    context, kube, _ = of(with_addons(TEA, MILK))
    failed = AddonStatus("milk", AddonState.FAILED, AddonError("addon_failed", "no"))
    context = replace(context, cluster=replace(context.cluster, addons=(failed,)))
    await Addons().apply(context)
    assert names(kube) == ["tea-account", "tea-pot"]


async def test_a_machine_that_ends_ends_the_step() -> None:
    context, kube, _ = of(with_addons(TEA), World(vm_exits=True))
    kube.block("apply")
    with pytest.raises(VmExited):
        await Addons().apply(context)


async def test_an_addon_that_fails_within_the_limit_is_named() -> None:
    assert Addons().limit(EMULATED) > EMULATED.addons


@pytest.mark.parametrize("source", [IMAGE, TEMPLATE], ids=str)
async def test_ready_looks_at_the_paths_of_addons_last(source: object) -> None:
    """In a fork no step before it does: its add-ons come from the template."""
    asked: list[tuple[str, ...]] = []

    class Watched(World):
        async def wait_paths(self, access: object, paths: object, **_: object) -> None:
            asked.append(tuple(paths))  # type: ignore[arg-type]

    context, _ = context_of(Watched())
    cluster = replace(context.cluster, spec=with_addons(TEA, MILK), boot_source=source)  # type: ignore[arg-type]
    await Ready().apply(replace(context, cluster=cluster))
    assert await Ready().check(replace(context, cluster=replace(cluster, addons=(), boot_source=IMAGE)))
    assert asked == [("/dns/ready", "/apis/tea/ready", "/apis/milk/ready")] * 2
