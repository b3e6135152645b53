"""Add-ons: their states from a cluster's creation on, requests to change them, and what workers observed."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.domain.addon import Addon, AddonError, AddonStatus
from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Fault, NewEvent
from dayfly.errors import Conflict, NotReady
from dayfly.store import Change, Claim, NewPool, Store
from dayfly.vocabulary import AddonState
from tests.store.helpers import claim_new, claim_one, create, make_members, make_ready, move
from tests.support.specs import make_addon, make_spec

TEA, MILK = make_addon(), make_addon("milk", needs=["tea"])
READY, PENDING, FAILED, REMOVING = AddonState.READY, AddonState.PENDING, AddonState.FAILED, AddonState.REMOVING
WHY = AddonError("addon_failed", "no milk today")


def states(cluster: Cluster) -> dict[str, AddonState]:
    return {one.name: one.state for one in cluster.addons}


async def ready_with(store: Store, *addons: Addon) -> Cluster:
    """A ready cluster that booted from its image, and is not due."""
    claim = await claim_new(store, "demo", addons=addons)
    await store.provisioning.begin(claim, IMAGE)
    await move(store, claim, Phase.READY)
    await store.leases.release(claim, due_in_seconds=None)
    return await store.clusters.get("demo")


async def request(store: Store, *addons: Addon) -> Cluster:
    return await store.updates.change("demo", Change(addons=addons))


async def observe(store: Store, claim: Claim, name: str, state: AddonState | None) -> Cluster | None:
    return await store.status.set_addon(claim, name, state, event=NewEvent("cluster.addon", f"{name}: {state}"))


async def test_addons_are_pending_until_the_cluster_is_ready(store: Store) -> None:
    claim = await claim_new(store, "demo", addons=(TEA, MILK))
    assert states(claim.cluster) == {"tea": PENDING, "milk": PENDING}
    begun = await store.provisioning.begin(claim, IMAGE)
    assert (begun.spec.addons, states(begun)) == ((TEA, MILK), {"tea": PENDING, "milk": PENDING})
    ready = await store.status.set_phase(claim, Phase.READY)
    assert states(ready) == {"tea": READY, "milk": READY}


async def test_the_addon_at_fault_is_named_with_the_reason(store: Store) -> None:
    claim = await claim_new(store, "demo", addons=(TEA, MILK))
    await store.provisioning.begin(claim, IMAGE)
    fault = Fault(WHY.code, WHY.message, "addons")
    failed = await store.status.set_phase(claim, Phase.FAILED, fault=fault, addon="milk")
    assert failed.addons == (AddonStatus("tea", PENDING), AddonStatus("milk", FAILED, WHY))


async def test_a_request_makes_the_cluster_due_at_once_and_leaves_it_ready(store: Store) -> None:
    made = await ready_with(store, TEA)
    assert await store.leases.claim("worker", lease_seconds=60, limit=1) == ()
    with store.watch_work() as watch:
        changed = await request(store, MILK)
        assert await watch.wait(20)
    assert (changed.phase, states(changed)) == (Phase.READY, {"milk": PENDING, "tea": REMOVING})
    assert [one.name for one in changed.spec.former_addons] == ["tea"]
    assert (await store.clusters.events(made.id))[-1].message == "add-ons: milk"
    claim = await claim_one(store)
    assert (await observe(store, claim, "tea", None), await observe(store, claim, "milk", READY)) != (None, None)
    await store.leases.release(claim, due_in_seconds=None)
    now = await store.clusters.get("demo")
    assert (states(now), now.spec.addons) == ({"milk": READY}, (MILK,))
    assert await store.leases.claim("worker", lease_seconds=60, limit=1) == ()


async def test_the_same_request_again_changes_nothing(store: Store) -> None:
    made = await ready_with(store, TEA)
    assert await request(store, TEA) == made
    changed = await request(store, TEA, MILK)
    assert await request(store, TEA, MILK) == changed
    assert [event.type for event in await store.clusters.events(made.id)].count("cluster.changed") == 1


async def test_a_request_tries_again_what_failed(store: Store) -> None:
    await ready_with(store, TEA)
    await request(store, MILK)
    claim = await claim_one(store)
    for name, state in (("milk", FAILED), ("tea", REMOVING)):
        await store.status.set_addon(claim, name, state, error=WHY, event=NewEvent("cluster.addon", "no"))
    await store.leases.release(claim, due_in_seconds=None)
    stuck = await store.clusters.get("demo")
    assert stuck.addons == (AddonStatus("milk", FAILED, WHY), AddonStatus("tea", REMOVING, WHY))
    again = await request(store, MILK)
    assert again.addons == (AddonStatus("milk", PENDING), AddonStatus("tea", REMOVING))


async def test_what_a_worker_saw_of_addons_that_were_changed_since_is_not_written(store: Store) -> None:
    made = await ready_with(store)
    await request(store, TEA)
    claim = await claim_one(store)
    await request(store)
    assert await observe(store, claim, "tea", READY) is None
    now = await store.clusters.get("demo")
    assert states(now) == {"tea": REMOVING}
    assert not [event for event in await store.clusters.events(made.id) if event.type == "cluster.addon"]
    await store.leases.release(claim, due_in_seconds=None)
    assert (await claim_one(store)).cluster.addons == now.addons


async def test_only_a_ready_cluster_without_another_request_gets_other_addons(store: Store) -> None:
    await make_ready(store, "other")
    await create(store, "demo")
    with pytest.raises(NotReady, match="demo is pending, not ready"):
        await request(store, TEA)
    await store.updates.change("demo", Change(labels={"a": "b"}))
    await store.lifecycle.reset("other", IMAGE)
    with pytest.raises(Conflict, match="is being reset"):
        await store.updates.change("other", Change(addons=()))
    await store.lifecycle.delete("other")
    with pytest.raises(Conflict, match="is being deleted"):
        await store.updates.change("other", Change(addons=()))


async def test_a_reset_sees_addons_anew_and_a_resumption_does_not(store: Store) -> None:
    await ready_with(store, TEA)
    await request(store, TEA, MILK)
    claim = await claim_one(store)
    await store.status.set_phase(claim, Phase.HIBERNATED)
    await store.status.set_phase(claim, Phase.PENDING)
    assert states(await store.provisioning.begin(claim, HIBERNATION)) == {"tea": READY, "milk": PENDING}
    assert states(await store.status.set_phase(claim, Phase.READY)) == {"tea": READY, "milk": PENDING}
    assert states(await store.provisioning.begin(claim, IMAGE, reset=True)) == {"tea": PENDING, "milk": PENDING}
    assert states(await store.status.set_phase(claim, Phase.READY)) == {"tea": READY, "milk": READY}


async def test_a_member_is_claimed_by_clusters_with_its_addons_only(store: Store) -> None:
    spec = make_spec(addons=[TEA])
    pool = await store.pools.create(NewPool("warm", "default", spec, 1, 1))
    [member] = await make_members(store, pool, 1)
    plain = await create(store)
    assert plain.id != member.id
    taken = await asyncio.wait_for(create(store, addons=(TEA,)), 60)
    assert (taken.id, states(taken)) == (member.id, {"tea": PENDING})
