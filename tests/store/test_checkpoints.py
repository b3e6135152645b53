"""Checkpoints: requested, created, restored, deleted; workers see each request, and requests do not collide."""

from __future__ import annotations

import pytest

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.boot_source import IMAGE, BootSource
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.scheduling.resources import Resources, hibernated_demand
from dayfly.errors import BadName, Conflict, LeaseLost, NotFound, NotReady
from dayfly.store import Claim, Store
from dayfly.store.checkpoints import MOST
from dayfly.store.db.tables import clusters
from tests.store.helpers import claim_one, create, make_ready, move, set_back


async def _make(store: Store, cluster_id: str, *names: str) -> Claim:
    """Checkpoints that are ready; the claim that made them is held."""
    for name in names:
        await store.checkpoints.create(cluster_id, name)
    claim = await claim_one(store)
    for name in names:
        await store.checkpoints.made(claim, name, 2**33)
    return claim


async def test_a_checkpoint_is_made_by_who_claims_its_cluster(store: Store) -> None:
    ready = await make_ready(store)
    requested = await store.checkpoints.create(ready.name, "clean-1")
    assert (requested.phase, requested.size_bytes) == (CheckpointPhase.CREATING, 0)
    assert await store.checkpoints.list(ready.id) == await store.checkpoints.due(ready.id) == (requested,)
    claim = await claim_one(store)
    await store.checkpoints.growing(claim, "clean-1", 2**20)
    [growing] = await store.checkpoints.list(ready.id)
    assert (growing.phase, growing.size_bytes) == (CheckpointPhase.CREATING, 2**20)
    await store.checkpoints.made(claim, "clean-1", 2**33)
    await store.checkpoints.growing(claim, "clean-1", 2**21)
    [made] = await store.checkpoints.list(ready.id)
    assert (made.name, made.phase, made.size_bytes) == ("clean-1", CheckpointPhase.READY, 2**33)
    assert await store.checkpoints.due(ready.id) == ()
    await store.leases.release(claim, due_in_seconds=None)
    assert await store.leases.seconds_until_due() is None


async def test_a_request_under_a_claim_is_due_at_its_release(store: Store) -> None:
    ready = await make_ready(store)
    claim = await _make(store, ready.id, "one")
    await store.checkpoints.create(ready.id, "two")
    await store.leases.release(claim, due_in_seconds=None)
    claim = await claim_one(store)
    await store.checkpoints.delete(ready.id, "one")
    await store.leases.release(claim, due_in_seconds=3600)
    assert (await claim_one(store)).cluster.id == ready.id
    assert [checkpoint.name for checkpoint in await store.checkpoints.due(ready.id)] == ["one", "two"]


async def test_a_checkpoint_that_is_discarded_frees_its_name(store: Store) -> None:
    ready = await make_ready(store)
    claim = await _make(store, ready.id, "one")
    gone = await store.checkpoints.delete(ready.id, "one")
    assert gone.phase is CheckpointPhase.DELETING
    assert await store.checkpoints.delete(ready.id, "one") == gone
    with pytest.raises(Conflict):
        await store.checkpoints.create(ready.id, "one")
    await store.checkpoints.gone(claim, "one")
    assert await store.checkpoints.list(ready.id) == ()
    assert await store.checkpoints.create(ready.id, "one")


async def test_a_checkpoint_deleted_during_its_creation_does_not_become_ready(store: Store) -> None:
    ready = await make_ready(store)
    await store.checkpoints.create(ready.id, "one")
    claim = await claim_one(store)
    await store.checkpoints.delete(ready.id, "one")
    await store.checkpoints.made(claim, "one", 1)
    assert [checkpoint.phase for checkpoint in await store.checkpoints.due(ready.id)] == [CheckpointPhase.DELETING]


async def test_a_reset_goes_to_a_checkpoint_that_is_ready(store: Store) -> None:
    ready = await make_ready(store)
    to = BootSource("checkpoint", "one")
    with pytest.raises(NotFound):
        await store.lifecycle.reset(ready.id, to)
    await store.checkpoints.create(ready.id, "one")
    with pytest.raises(Conflict, match="creating"):
        await store.lifecycle.reset(ready.id, to)
    claim = await claim_one(store)
    await store.checkpoints.made(claim, "one", 1)
    assert (await store.lifecycle.reset(ready.id, to)).reset_to == to
    with pytest.raises(Conflict, match="being reset"):
        await store.checkpoints.delete(ready.id, "one")
    assert (await store.provisioning.begin(claim, to, reset=True)).boot_source == to
    with pytest.raises(Conflict, match="being reset"):
        await store.checkpoints.delete(ready.id, "one")
    await move(store, claim, Phase.READY)
    assert [checkpoint.name for checkpoint in await store.checkpoints.list(ready.id)] == ["one"]
    assert await store.checkpoints.delete(ready.id, "one")


async def test_when_there_can_be_none(store: Store) -> None:
    waiting = await create(store)
    with pytest.raises(NotReady):
        await store.checkpoints.create(waiting.id, "one")
    await store.lifecycle.delete(waiting.id)
    with pytest.raises(Conflict):
        await store.checkpoints.create(waiting.id, "one")
    for name in ("", "Über", "a" * 41, "-a", "../a"):
        with pytest.raises(BadName):
            await store.checkpoints.create(waiting.id, name)
    with pytest.raises(NotFound):
        await store.checkpoints.create("nobody", "one")
    with pytest.raises(NotFound):
        await store.checkpoints.delete("nobody", "one")


async def test_none_while_the_cluster_is_to_be_reset(store: Store) -> None:
    ready = await make_ready(store)
    await store.lifecycle.reset(ready.id, IMAGE)
    with pytest.raises(Conflict):
        await store.checkpoints.create(ready.id, "one")


async def test_there_are_not_too_many(store: Store) -> None:
    ready = await make_ready(store)
    for number in range(MOST):
        await store.checkpoints.create(ready.id, f"number-{number}")
    with pytest.raises(Conflict, match="the maximum"):
        await store.checkpoints.create(ready.id, "one-more")
    assert len(await store.checkpoints.due(ready.id)) == MOST


async def test_they_go_with_their_cluster(store: Store) -> None:
    ready = await make_ready(store)
    claim = await _make(store, ready.id, "one")
    await move(store, claim, Phase.DELETING)
    with pytest.raises(NotFound):
        await store.checkpoints.delete(ready.id, "two")
    await move(store, claim, Phase.DELETED)
    assert await store.checkpoints.list(ready.id) == ()


@pytest.mark.parametrize("at_once", [True, False])
async def test_they_go_when_all_of_a_cluster_that_failed_is_cleared_away(store: Store, at_once: bool) -> None:
    ready = await make_ready(store)
    claim = await _make(store, ready.id, "one")
    await store.status.set_phase(claim, Phase.FAILED, free=at_once)
    if not at_once:
        [kept] = await store.checkpoints.list(ready.id)
        assert kept.name == "one", "a hold may keep what it lies on"
        await store.status.free(claim)
    assert await store.checkpoints.list(ready.id) == ()
    assert (await store.admission.queue()).in_use == Resources()


async def test_they_take_room_while_their_cluster_waits_to_be_woken_up(store: Store) -> None:
    ready = await make_ready(store)
    claim = await _make(store, ready.id, "one")
    await move(store, claim, Phase.HIBERNATED, Phase.PENDING)
    queue = await store.admission.queue()
    assert queue.in_use == hibernated_demand(ready.spec) + Resources(disk_gib=8)
    assert queue.saved_gib == 8


async def test_only_who_has_the_claim_may_report(store: Store) -> None:
    ready = await make_ready(store)
    await store.checkpoints.create(ready.id, "one")
    claim = await claim_one(store)
    await set_back(store, ready.id, clusters.c.lease_expires_at)
    await claim_one(store, "heir")
    with pytest.raises(LeaseLost):
        await store.checkpoints.made(claim, "one", 1)
    with pytest.raises(LeaseLost):
        await store.checkpoints.gone(claim, "one")
