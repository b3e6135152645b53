"""The time of a cluster's next pass, also after changes while a worker holds or has scheduled the cluster."""

from __future__ import annotations

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.store import Change, Store
from dayfly.store.db.tables import clusters
from tests.store.helpers import claim_new, claim_one, move, set_back


async def test_a_change_under_a_claim_is_seen_when_it_ends(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.updates.change(claim.cluster.id, Change(ttl_seconds=30))
    await store.leases.release(claim, due_in_seconds=3600)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert seconds <= 24


async def test_a_change_does_not_take_work_from_who_dies(store: Store) -> None:
    """A claim leaves the row due: so must everything that is written under it."""
    claim = await claim_new(store, heartbeat_interval_seconds=600)
    await move(store, claim, Phase.PROVISIONING)
    await store.updates.change(claim.cluster.id, Change(ttl_seconds=3600, labels={"a": "b"}))
    await store.updates.heartbeat(claim.cluster.id)
    await set_back(store, claim.cluster.id, clusters.c.lease_expires_at)
    assert (await claim_one(store, "heir")).cluster.id == claim.cluster.id


async def test_a_change_does_not_put_off_what_a_worker_planned(store: Store) -> None:
    claim = await claim_new(store, heartbeat_interval_seconds=600)
    await move(store, claim, Phase.PROVISIONING)
    await store.leases.release(claim, due_in_seconds=5)
    await store.updates.change(claim.cluster.id, Change(ttl_seconds=3600))
    await store.updates.heartbeat(claim.cluster.id)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert seconds <= 5
