"""Add-ons: installed before a cluster is ready, in forks, and changed by requests to a ready cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from dayfly.addon_fetch import fetch_addon
from dayfly.addon_manifests import AddonManifests
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.domain.addon import LABEL_ADDON, Addon, AddonDefinition, identity
from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.network import API_PORT
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.domain.template import template_key
from dayfly.errors import EngineUnavailable, NotUsable
from dayfly.store import Change, Store
from dayfly.vocabulary import AddonState
from tests.support.pulled_addons import MANIFEST, PINNED, make_juice, serving
from tests.support.specs import make_addon, make_spec
from tests.support.world import GIVE_UP_SECONDS, World

TEA, MILK = make_addon(), make_addon("milk", needs=["tea"])
READY, PENDING, FAILED, REMOVING = AddonState.READY, AddonState.PENDING, AddonState.FAILED, AddonState.REMOVING
PATH = "/apis/milk/ready"


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def with_addons(*addons: Addon) -> ClusterSpec:
    return make_spec(workers=1, kubernetes=True, addons=addons)


async def ready(world: World, *addons: Addon) -> Cluster:
    return await world.until(await world.create(with_addons(*addons)), Phase.READY, Phase.FAILED)


async def request(world: World, cluster: Cluster, *addons: Addon) -> Cluster:
    """The cluster, once nothing is due of its add-ons."""
    await world.store.updates.change(cluster.id, Change(addons=addons))
    return await world.until_so(cluster, lambda now: not any(one.is_due for one in now.addons))


async def until(seen: Callable[[], bool]) -> None:
    """Returns when `seen`: calls to the API server have no watch."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while not seen():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)


def states(cluster: Cluster) -> dict[str, AddonState]:
    return {one.name: one.state for one in cluster.addons}


def objects(world: World, cluster: Cluster) -> list[str]:
    """The names of the objects at the cluster's API server."""
    here = world.kube.objects.get(str(cluster.endpoints[API_PORT]), {})
    return [str(item["metadata"]["name"]) for item in here.values()]


OF_TEA, OF_MILK = ["tea-account", "tea-pot"], ["milk-account", "milk-pot"]


async def steps_of(world: World, cluster: Cluster) -> list[str]:
    return [step.name for step in await world.store.clusters.steps(cluster.id)]


async def events_of(world: World, cluster: Cluster) -> list[str]:
    return [one.message for one in await world.store.clusters.events(cluster.id) if one.type == "cluster.addon"]


async def test_a_cluster_is_ready_with_its_addons(world: World) -> None:
    async with world.working():
        cluster = await ready(world, TEA, MILK)
    assert (cluster.phase, states(cluster)) == (Phase.READY, {"tea": READY, "milk": READY})
    assert objects(world, cluster) == OF_TEA + OF_MILK
    assert (await steps_of(world, cluster))[-3:] == ["smoke_test", "addons", "ready"]


async def test_an_addon_that_does_not_work_fails_the_cluster_by_name(world: World) -> None:
    world.kube.failing_paths[PATH] = "the server could not find the requested resource"
    async with world.working():
        cluster = await ready(world, TEA, MILK)
    assert cluster.fault is not None
    assert (cluster.phase, cluster.fault.code, cluster.fault.step) == (Phase.FAILED, "addon_failed", "addons")
    assert cluster.fault.message.startswith(f"the add-on milk does not work: {PATH} not ready within ")
    assert states(cluster) == {"tea": PENDING, "milk": FAILED}
    [error] = [one.error for one in cluster.addons if one.name == "milk"]
    assert error is not None
    assert (error.code, error.message) == (cluster.fault.code, cluster.fault.message)
    evidence = await world.store.clusters.evidence(cluster.id)
    assert evidence[f"addons/{PATH}"] == "the server could not find the requested resource"


async def test_a_cluster_without_addons_makes_no_call_for_them(world: World) -> None:
    async with world.working():
        await ready(world)
    assert not {"labels", "apply", "delete"} & world.kube.calls.keys()


async def test_a_fork_has_the_addons_of_its_template_and_looks_whether_they_work(world: World) -> None:
    async with world.working():
        template = await world.template(with_addons(TEA))
        applied = world.kube.calls["apply"]
        fork = await ready(world, TEA)
        assert (fork.template_id, states(fork)) == (template.id, {"tea": READY})
        assert "addons" not in await steps_of(world, fork)
        assert world.kube.calls["apply"] == applied
        plain = await ready(world)
        assert (plain.template_id, "has the add-ons tea, not no add-ons" in str(plain.not_forked)) == (None, True)
        world.kube.fail_next("wait_paths", NotUsable("/apis/tea/ready not ready"), times=2)
        fallen = await ready(world, TEA)
    assert (fallen.template_id, fallen.not_forked) == (None, "its fork failed: /apis/tea/ready not ready")
    assert (states(fallen), objects(world, fallen)) == ({"tea": READY}, OF_TEA)


async def test_a_request_installs_and_removes_while_the_cluster_is_ready(world: World) -> None:
    async with world.working():
        cluster = await ready(world, TEA)
        more = await request(world, cluster, TEA, MILK)
        assert (states(more), objects(world, more)) == ({"tea": READY, "milk": READY}, OF_TEA + OF_MILK)
        less = await request(world, cluster, TEA)
        assert (states(less), objects(world, less)) == ({"tea": READY}, OF_TEA)
        none = await request(world, cluster)
    assert (states(none), objects(world, none), none.phase) == ({}, [], Phase.READY)
    assert await events_of(world, cluster) == [
        "add-on milk is ready",
        "add-on milk is removed",
        "add-on tea is removed",
    ]
    moves = [one.message for one in await world.store.clusters.events(cluster.id) if one.type == "phase"]
    assert moves == ["pending → provisioning", "provisioning → ready"]


async def test_all_are_removed_in_the_reverse_order_of_their_installation(world: World) -> None:
    async with world.working():
        cluster = await ready(world, TEA, MILK)
        await request(world, cluster)
    assert await events_of(world, cluster) == ["add-on milk is removed", "add-on tea is removed"]


async def test_only_what_needs_another_waits_for_it(world: World) -> None:
    lemon = make_addon("lemon")
    async with world.working():
        cluster = await ready(world)
        asked, gate = world.kube.calls["wait_paths"], world.kube.block("wait_paths")
        await world.store.updates.change(cluster.id, Change(addons=(TEA, MILK, lemon)))
        await until(lambda: world.kube.calls["wait_paths"] == asked + 2)
        assert {name.partition("-")[0] for name in objects(world, cluster)} == {"tea", "lemon"}
        gate.open()
        await world.until_so(cluster, lambda now: set(states(now).values()) == {READY})
        asked, gate = world.kube.calls["delete"], world.kube.block("delete")
        await world.store.updates.change(cluster.id, Change(addons=()))
        await until(lambda: world.kube.calls["delete"] == asked + 2)
        gate.open()
        await world.until_so(cluster, lambda now: not now.addons)
    assert (await events_of(world, cluster))[-1] == "add-on tea is removed"
    assert objects(world, cluster) == []


async def test_an_error_after_a_request_is_shown_at_the_addon_and_tried_again_by_the_next(world: World) -> None:
    world.kube.failing_paths[PATH] = "no endpoints"
    sugar = make_addon("sugar", needs=["milk"])
    async with world.working():
        cluster = await ready(world, TEA)
        failed = await request(world, cluster, TEA, MILK, sugar)
        assert (failed.phase, failed.fault) == (Phase.READY, None)
        assert states(failed) == {"tea": READY, "milk": FAILED, "sugar": FAILED}
        errors = [one.error.message for one in failed.addons if one.error is not None]
        assert errors[0].startswith(f"the add-on milk does not work: {PATH} not ready within ")
        assert errors[1] == "the add-on sugar needs milk, which failed"
        evidence = await world.store.clusters.evidence(cluster.id)
        assert evidence[f"addons/milk/{PATH}"] == "no endpoints"
        world.kube.failing_paths.clear()
        again = await request(world, cluster, TEA, MILK, sugar)
    assert states(again) == {"tea": READY, "milk": READY, "sugar": READY}


async def test_what_cannot_be_removed_stays_listed_and_so_does_what_it_needs(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        await request(world, cluster, TEA, MILK)
        world.kube.refused_objects["milk-account"] = "protected"
        stuck = await request(world, cluster)
        assert states(stuck) == {"tea": REMOVING, "milk": REMOVING}
        errors = {one.name: one.error.message for one in stuck.addons if one.error is not None}
        assert errors["milk"].endswith("cannot be removed: milk-account was refused: protected")
        assert errors["tea"] == "the add-on tea stays: one that needs it was not removed"
        assert objects(world, stuck) == [*OF_TEA, "milk-account"]
        world.kube.refused_objects.clear()
        gone = await request(world, cluster)
    assert (states(gone), objects(world, gone)) == ({}, [])


async def test_a_failed_addon_fails_no_recovery_and_no_reset(world: World) -> None:
    world.kube.failing_paths[PATH] = "no endpoints"
    async with world.working():
        cluster = await ready(world, TEA)
        await request(world, cluster, TEA, MILK)
        world.engine.restart_engine()
        await world.until_event(cluster, lambda event: event.type == "cluster.recovered")
        now = await world.until(cluster, Phase.READY, Phase.FAILED)
        assert (now.phase, states(now)) == (Phase.READY, {"tea": READY, "milk": FAILED})
        now = await reset(world, cluster)
    assert (now.phase, states(now)) == (Phase.READY, {"tea": READY, "milk": FAILED})


async def reset(world: World, cluster: Cluster) -> Cluster:
    before = await world.store.lifecycle.reset(cluster.id, IMAGE)
    return await world.until_so(
        cluster,
        lambda now: now.phase is Phase.FAILED or (now.phase is Phase.READY and now.generation > before.generation),
    )


async def test_a_reset_to_the_template_keeps_the_addons_of_the_last_request(world: World) -> None:
    async with world.working():
        await world.template(with_addons(TEA))
        fork = await ready(world, TEA)
        await request(world, fork, MILK)
        # As the template's memory has it.
        world.kube.objects[str(fork.endpoints[API_PORT])] = {identity(item): item for item in TEA.objects}
        after = await reset(world, fork)
    assert (after.phase, after.template_id, states(after)) == (Phase.READY, fork.template_id, {"milk": READY})
    assert objects(world, after) == OF_MILK


async def test_an_outage_of_the_engine_delays_a_request(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        gate = world.kube.block("apply")
        await world.store.updates.change(cluster.id, Change(addons=(TEA,)))
        await gate.reached.wait()
        world.engine.fail_next("endpoints", EngineUnavailable("away"), times=2)
        gate.open()
        now = await world.until_so(cluster, lambda now: states(now) == {"tea": READY})
        now = await request(world, now, TEA, MILK)
    assert (states(now), now.phase) == ({"tea": READY, "milk": READY}, Phase.READY)


async def test_a_deletion_ends_a_request(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        gate = world.kube.block("apply")
        await world.store.updates.change(cluster.id, Change(addons=(TEA,)))
        await gate.reached.wait()
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.containers


async def test_a_request_that_is_withdrawn_meanwhile_leaves_nothing(world: World) -> None:
    async with world.working():
        cluster = await ready(world)
        gate = world.kube.block("apply")
        await world.store.updates.change(cluster.id, Change(addons=(TEA,)))
        await gate.reached.wait()
        # The gate stays closed: the attempt would take its whole limit.
        await world.store.updates.change(cluster.id, Change(addons=()))
        now = await world.until_so(cluster, lambda now: not now.addons)
    assert (objects(world, now), now.phase) == ([], Phase.READY)


@pytest.mark.parametrize("calls", [1, 2, 3])
async def test_requests_converge_whenever_workers_die(world: World, calls: int) -> None:
    async with world.working():
        cluster = await ready(world, TEA)

    async def settled() -> bool:
        return not any(one.is_due for one in (await world.store.clusters.get(cluster.id)).addons)

    for wanted, left in (((MILK,), OF_MILK), ((TEA, MILK), OF_MILK + OF_TEA), ((), [])):
        await world.store.updates.change(cluster.id, Change(addons=wanted))
        await world.work_in_pieces(calls, settled)
        now = await world.store.clusters.get(cluster.id)
        assert (now.phase, states(now)) == (Phase.READY, {addon.name: READY for addon in wanted})
        assert sorted(objects(world, now)) == sorted(left)


async def test_a_pulled_addon_is_fetched_installed_in_order_and_removed(world: World, tmp_path: Path) -> None:
    juice, manifests = make_juice(), AddonManifests(tmp_path, lambda _: None)
    with serving(MANIFEST) as transport:
        fetch_addon(juice, manifests, transport=transport)
    addon = manifests.complete(juice)
    async with world.working():
        cluster = await ready(world, TEA, addon)
        assert states(cluster) == {"tea": READY, "juice": READY}
        here = world.kube.objects[str(cluster.endpoints[API_PORT])]
        kinds = [item["kind"] for item in here.values() if item["metadata"]["labels"][LABEL_ADDON] == "juice"]
        assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
        assert kinds[-3:] == ["Deployment", "ValidatingWebhookConfiguration", "Juice"]
        assert ("juice/press:v1" in str(here), PINNED in str(here)) == (False, True)
        less = await request(world, cluster, TEA)
        assert (states(less), objects(world, less)) == ({"tea": READY}, OF_TEA)
        # Its Deployment proves that it works: no path is written in the definition.
        path = "/apis/apps/v1/namespaces/juice/deployments/press"
        world.kube.failing_paths[path] = "0 of 1 pods are available"
        failed = await request(world, cluster, TEA, addon)
    assert (failed.phase, states(failed)) == (Phase.READY, {"tea": READY, "juice": FAILED})
    evidence = await world.store.clusters.evidence(cluster.id)
    assert evidence[f"addons/juice/{path}"] == "0 of 1 pods are available"


async def test_pools_and_templates_get_the_addons_of_this_release() -> None:
    """What it does not know any more stays as it was."""
    old, new, own = make_addon(parts=["pot"]), make_addon(), make_addon("own")
    known = AddonDefinition(**dict(new), description="Tea.", recipes=("k8s-test",))
    spec = with_addons(old, own)

    async def resolve(image: str) -> tuple[str, ImageManifest]:
        return spec.image_id, spec.manifest

    async def key_of(spec: ClusterSpec, owner: str) -> str:
        return template_key(spec, owner, "kvm", "")

    current, key = await SpecRefresher(resolve, key_of, {"tea": known}).now(spec, "us")
    assert current.addons == (new, own)
    assert key == template_key(with_addons(new, own), "us", "kvm", "")
