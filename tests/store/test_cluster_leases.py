"""Leases of clusters: which worker may write, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Endpoint, NewEvent, StepReport, StepState
from dayfly.domain.security.secrets import new_secrets
from dayfly.errors import LeaseLost
from dayfly.store import Claim, Store
from dayfly.store.db.tables import clusters
from tests.store.helpers import LEASE_SECONDS, claim_new, claim_one, create_due, move, reported, set_back
from tests.support.specs import make_spec

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
WRITES: dict[str, Callable[[Store, Claim], Awaitable[object]]] = {
    "renew": lambda store, claim: store.leases.renew(claim, lease_seconds=60),
    "release": lambda store, claim: store.leases.release(claim, due_in_seconds=None),
    "set_phase": lambda store, claim: store.status.set_phase(claim, Phase.PROVISIONING),
    "set_endpoints": lambda store, claim: store.status.set_endpoints(claim, {22: Endpoint("127.0.0.1", 1)}),
    "save_secrets": lambda store, claim: store.status.save_secrets(claim, new_secrets(make_spec(), _NOW)),
    "record": lambda store, claim: store.status.record(claim, [StepReport("boot", None, StepState.DONE, 1, _NOW)]),
    "append_event": lambda store, claim: store.status.append_event(claim, NewEvent("step.done", "done")),
    "save_evidence": lambda store, claim: store.status.save_evidence(claim, {"console": "text"}),
    "free": lambda store, claim: store.status.free(claim),
    "free_machines": lambda store, claim: store.status.free_machines(claim),
    "count_restart": lambda store, claim: store.status.count_restart(claim, 1),
    "warned": lambda store, claim: store.status.warned(claim, NewEvent("cluster.expiring", "soon")),
}


async def test_every_claim_has_a_higher_fence_than_those_before(store: Store) -> None:
    first = await claim_new(store)
    renewed = await store.leases.renew(first, lease_seconds=60)
    assert renewed.fence == first.cluster.fence
    await store.leases.release(first, due_in_seconds=0)
    second = await claim_one(store)
    await set_back(store, second.cluster.id, clusters.c.lease_expires_at)
    assert (await claim_one(store)).cluster.fence > second.cluster.fence > first.cluster.fence > 0


async def test_a_claimed_cluster_cannot_be_claimed_again(store: Store) -> None:
    made = {(await create_due(store)).id for _ in range(5)}
    batches = await asyncio.gather(*(store.leases.claim(f"w{i}", lease_seconds=60, limit=2) for i in range(5)))
    assert all(len(batch) <= 2 for batch in batches)
    ids = [claim.cluster.id for batch in batches for claim in batch]
    ids += [claim.cluster.id for claim in await store.leases.claim("last", lease_seconds=60, limit=9)]
    assert sorted(ids) == sorted(made)
    assert await store.leases.claim("late", lease_seconds=60, limit=9) == ()


async def test_the_longest_overdue_comes_first(store: Store) -> None:
    made = [await create_due(store) for _ in range(3)]
    await set_back(store, made[2].id, clusters.c.due_at, 200)
    await set_back(store, made[0].id, clusters.c.due_at, 100)
    first = await store.leases.claim("worker", lease_seconds=60, limit=2)
    assert [claim.cluster.id for claim in first] == [made[2].id, made[0].id]


async def test_an_expired_lease_is_taken_over(store: Store) -> None:
    dead = await claim_new(store)
    await set_back(store, dead.cluster.id, clusters.c.lease_expires_at)
    heir = await claim_one(store, "heir")
    assert heir.cluster.id == dead.cluster.id
    assert heir.token != dead.token
    await store.status.append_event(heir, NewEvent("step.started", "boot"))
    with pytest.raises(LeaseLost):
        await store.status.append_event(dead, NewEvent("step.started", "boot"))


async def test_a_renewed_lease_is_not_taken_over(store: Store) -> None:
    claim = await claim_new(store)
    await set_back(store, claim.cluster.id, clusters.c.lease_expires_at)
    await store.leases.renew(claim, lease_seconds=LEASE_SECONDS)
    assert await store.leases.claim("heir", lease_seconds=60, limit=1) == ()


@pytest.mark.parametrize("write", WRITES)
async def test_without_the_lease_nothing_is_written(store: Store, write: str) -> None:
    lost = await claim_new(store)
    await set_back(store, lost.cluster.id, clusters.c.lease_expires_at)
    heir = await claim_one(store, "heir")
    before = await store.clusters.get(lost.cluster.id)
    with pytest.raises(LeaseLost):
        await WRITES[write](store, lost)
    assert await store.clusters.get(lost.cluster.id) == before
    assert await store.clusters.steps(before.id) == ()
    assert await reported(store, before.id) == ()
    assert await store.clusters.secrets(before.id) is None
    assert await store.clusters.evidence(before.id) == {}
    await WRITES[write](store, heir)


async def test_released_for_later(store: Store) -> None:
    claim = await claim_new(store)
    await store.leases.release(claim, due_in_seconds=30)
    assert await store.leases.claim("worker", lease_seconds=60, limit=1) == ()
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 25 < seconds <= 30
    await set_back(store, claim.cluster.id, clusters.c.due_at, 0)
    assert await store.leases.seconds_until_due() == 0
    assert (await claim_one(store)).cluster.id == claim.cluster.id


async def test_released_for_good(store: Store) -> None:
    claim = await claim_new(store)
    await store.leases.release(claim, due_in_seconds=None)
    assert await store.leases.seconds_until_due() is None
    with pytest.raises(LeaseLost):
        await store.leases.release(claim, due_in_seconds=0)


async def test_released_at_once(store: Store) -> None:
    claim = await claim_new(store)
    await store.leases.release(claim, due_in_seconds=0)
    assert (await claim_one(store)).cluster.id == claim.cluster.id


@pytest.mark.parametrize("due_in_seconds", [None, 3600.0])
async def test_a_request_under_the_claim_is_due_after_it(store: Store, due_in_seconds: float | None) -> None:
    claim = await claim_new(store)
    await store.lifecycle.delete(claim.cluster.id)
    assert await store.leases.claim("other", lease_seconds=60, limit=1) == ()
    assert (await store.leases.renew(claim, lease_seconds=60)).desired is Desired.ABSENT
    await store.leases.release(claim, due_in_seconds=due_in_seconds)
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_a_held_lease_counts_until_it_ends(store: Store) -> None:
    await claim_new(store)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert LEASE_SECONDS - 10 < seconds <= LEASE_SECONDS


async def test_a_settled_cluster_is_due_when_it_expires(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.leases.release(claim, due_in_seconds=None)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 470 < seconds <= 480, "a fifth of its time before its end there is a warning"
    await set_back(store, claim.cluster.id, clusters.c.expires_at)
    await set_back(store, claim.cluster.id, clusters.c.due_at)
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_expiry_is_seen_by_who_holds_the_lease(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    assert (await store.leases.renew(claim, lease_seconds=60)).desired is Desired.PRESENT
    await set_back(store, claim.cluster.id, clusters.c.expires_at)
    assert (await store.leases.renew(claim, lease_seconds=60)).desired is Desired.ABSENT
    await store.leases.release(claim, due_in_seconds=None)
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_deletion_ends_the_claim(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    await store.leases.release(claim, due_in_seconds=0)
    assert await store.leases.seconds_until_due() is None
    with pytest.raises(LeaseLost):
        await store.status.append_event(claim, NewEvent("step.done", "done"))
