"""Queries of gc and engine events over many clusters, and the purge of deleted clusters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Hold, NewEvent, StepReport, StepState
from dayfly.domain.security.secrets import new_secrets
from dayfly.errors import NotFound
from dayfly.store import IdempotencyKey, NewCluster, Store
from dayfly.store.db import tables
from dayfly.store.db.access_tables import teams
from dayfly.store.db.accounting_tables import usage_intervals
from dayfly.store.db.secret_keys import secret_keys
from dayfly.store.db.tables import clusters
from tests.store.helpers import admit_all, claim_new, claim_one, create, move, set_back, spec_with
from tests.support.specs import make_spec

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_all_that_is_not_deleted_is_known(store: Store) -> None:
    gone = await claim_new(store)
    await move(store, gone, Phase.DELETING, Phase.DELETED)
    running = await claim_new(store)
    await move(store, running, Phase.PROVISIONING)
    await store.lifecycle.delete(running.cluster.id)
    waiting = await create(store)
    held = await create(store, hold=Hold(datetime.now(UTC) + timedelta(hours=1), "why"))
    lapsed = await create(store, hold=Hold(datetime.now(UTC) - timedelta(hours=1), "why"))
    known = {cluster.id: cluster for cluster in await store.maintenance.known()}
    assert set(known) == {running.cluster.id, waiting.id, held.id, lapsed.id}
    provisioning = known[running.cluster.id]
    assert (provisioning.phase, provisioning.desired) == (Phase.PROVISIONING, Desired.ABSENT)
    assert {cluster.id for cluster in known.values() if cluster.reserved} == {running.cluster.id}


async def test_who_is_nudged_is_due(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.leases.release(claim, due_in_seconds=None)
    await store.maintenance.requeue([claim.cluster.id, "0123456789ab"])
    assert (await claim_one(store)).cluster.id == claim.cluster.id


@pytest.mark.parametrize("due_in_seconds", [None, 3600.0])
async def test_a_nudge_under_a_claim_is_due_after_it(store: Store, due_in_seconds: float | None) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.maintenance.requeue([claim.cluster.id])
    await store.leases.release(claim, due_in_seconds=due_in_seconds)
    again = await claim_one(store)
    await store.leases.release(again, due_in_seconds=due_in_seconds)
    assert await store.leases.claim("worker", lease_seconds=60, limit=1) == ()


async def test_a_requeue_postpones_no_cluster_and_skips_deleted_ones(store: Store) -> None:
    made = await create(store)
    await admit_all(store)
    gone = (await store.leases.claim("worker", lease_seconds=60, limit=1))[0]
    await move(store, gone, Phase.DELETING, Phase.DELETED)
    first = await create(store)
    await admit_all(store)
    await set_back(store, first.id, clusters.c.due_at, 100)
    with store.watch_work() as work:
        await store.maintenance.requeue([first.id, made.id])
        await store.maintenance.requeue([])
        assert not await work.wait(0.05)
    claim = await claim_one(store)
    assert claim.due_at is not None
    assert claim.due_at < claim.cluster.created_at


async def _everything_of_one(store: Store) -> str:
    spec = spec_with(labels={"team": "a"})
    made, _ = await store.clusters.create(NewCluster(None, spec), IdempotencyKey("key", "fingerprint"))
    await admit_all(store)
    claim = await claim_one(store)
    await store.status.save_secrets(claim, new_secrets(make_spec(), _NOW))
    await store.status.append_event(claim, NewEvent("step.done", "done"))
    await store.status.record(claim, [StepReport("boot", None, StepState.DONE, 1, _NOW)])
    await store.status.save_evidence(claim, {"console": "text"})
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    return made.id


async def test_the_deleted_are_forgotten_with_all_that_was_theirs(store: Store) -> None:
    gone = await _everything_of_one(store)
    living = await create(store)
    assert await store.maintenance.purge_deleted(3600, limit=100) == 0
    assert (await store.clusters.get(gone)).phase is Phase.DELETED
    await set_back(store, gone, clusters.c.deleted_at, 3700)
    assert await store.maintenance.purge_deleted(3600, limit=100) == 1
    with pytest.raises(NotFound):
        await store.clusters.get(gone)
    async with store._database.read() as connection:
        for table in tables.metadata.sorted_tables:
            count = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            # The team `default` and a key of secrets always exist; usage is kept longer than the cluster.
            assert count == (1 if table in (clusters, teams, secret_keys, usage_intervals) else 0), table.name
    assert (await store.clusters.get(living.id)) == living
    again, created = await store.clusters.create(NewCluster(None, make_spec()), IdempotencyKey("key", "another"))
    assert created
    assert again.id != gone


async def test_the_longest_deleted_are_forgotten_first_and_not_all_at_once(store: Store) -> None:
    made = []
    for age in (300, 100, 200):
        claim = await claim_new(store)
        await move(store, claim, Phase.DELETING, Phase.DELETED)
        await set_back(store, claim.cluster.id, clusters.c.deleted_at, age)
        made.append(claim.cluster.id)
    assert await store.maintenance.purge_deleted(50, limit=2) == 2
    assert [c.id for c in (await store.clusters.list(phases={Phase.DELETED})).clusters] == [made[1]]
    assert await store.maintenance.purge_deleted(50, limit=2) == 1
    assert await store.maintenance.purge_deleted(50, limit=2) == 0


async def test_a_claim_on_what_is_forgotten_ends_quietly(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    assert await store.maintenance.purge_deleted(-1, limit=1) == 1
    await store.leases.release(claim, due_in_seconds=None)


async def test_the_newest_events_of_each_cluster_stay(store: Store) -> None:
    claims = [await claim_new(store) for _ in range(2)]
    for number in range(6):
        await store.status.append_event(claims[0], NewEvent("step.progress", str(number)))
    await store.status.append_event(claims[1], NewEvent("step.progress", "alone"))
    before = [one.message for one in await store.clusters.events(claims[1].cluster.id)]
    assert await store.maintenance.purge_events(4) > 0
    kept = [one.message for one in await store.clusters.events(claims[0].cluster.id)]
    assert kept == ["2", "3", "4", "5"]
    assert [one.message for one in await store.clusters.events(claims[1].cluster.id)] == before
    assert await store.maintenance.purge_events(4) == 0
