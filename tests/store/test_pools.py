"""Pools: members come and go, and at most one caller claims a member."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import insert, text

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold, Purpose
from dayfly.domain.pool import Period, Pool, PoolCondition
from dayfly.domain.scheduling.resources import demand
from dayfly.errors import BadName, IdempotencyKeyReused, NameTaken, NotFound
from dayfly.store import IdempotencyKey, NewCluster, NewPool, PoolChange, Store
from dayfly.store.clusters import pool_claims as members
from dayfly.store.db.tables import clusters, labels
from tests.store.helpers import admit_all, claim_one, create, make_members, move, set_back, several_stores, spec_with
from tests.support.specs import make_spec

POOL = NewPool("warm", "default", make_spec(), size=2, maximum=4)
SCHEDULE = (Period(frozenset({0, 4}), time(8), time(18, 30), 3), Period(frozenset({6}), time(0), time(23, 59, 59), 0))


async def _fill(store: Store, count: int, new: NewPool = POOL) -> tuple[Pool, tuple[Cluster, ...]]:
    pool = await store.pools.create(new)
    return pool, await make_members(store, pool, count)


async def test_a_pool_is_stored_as_requested(store: Store) -> None:
    pool = await store.pools.create(NewPool("warm", "me", make_spec(), 2, 5, SCHEDULE, 3600))
    assert await store.pools.get("warm") == await store.pools.get(pool.id) == pool
    assert await store.pools.list() == (pool,)
    assert (pool.owner, pool.size, pool.maximum, pool.schedule, pool.max_age_seconds) == ("me", 2, 5, SCHEDULE, 3600)


async def test_a_pool_is_changed_where_something_else_is_wanted(store: Store) -> None:
    pool = await store.pools.create(POOL)
    changed = await store.pools.change("warm", PoolChange(size=0, schedule=SCHEDULE))
    assert changed == await store.pools.get(pool.id)
    assert asdict(changed) == {**asdict(pool), "size": 0, "schedule": asdict(changed)["schedule"]}
    assert changed.schedule == SCHEDULE
    changed = await store.pools.change(pool.id, PoolChange(schedule=(), maximum=9, max_age_seconds=60))
    assert (changed.size, changed.schedule, changed.maximum, changed.max_age_seconds) == (0, (), 9, 60)


async def test_the_condition_of_a_pool_is_set_and_cleared(store: Store) -> None:
    pool = await store.pools.create(POOL)
    waiting = PoolCondition("image_missing", "no such image: b\ufffdre")
    told = PoolCondition("image_missing", "no such image: b\0re")
    # The kept message differs: said again, it is no change all the same.
    assert [await store.pools.set_condition(pool.id, told) for _ in range(2)] == [True, False]
    assert (await store.pools.get("warm")).condition == waiting
    assert (await store.pools.change("warm", PoolChange(size=1))).condition == waiting
    assert [one.condition for one in await store.pools.list()] == [waiting]
    assert await store.pools.set_condition(pool.id, None)
    assert (await store.pools.get("warm")).condition is None
    async with store._database.read() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM pools WHERE waiting IS NULL"))).scalar() == 1
    await store.pools.delete(pool.id)
    await store.pools.set_condition(pool.id, waiting)
    assert await store.pools.list() == ()


async def test_a_pools_name_is_its_own(store: Store) -> None:
    await store.pools.create(POOL)
    with pytest.raises(NameTaken):
        await store.pools.create(POOL)
    with pytest.raises(BadName):
        await store.pools.create(NewPool("Über", "default", make_spec(), 1, 1))
    for ask in (
        lambda: store.pools.get("nobody"),
        lambda: store.pools.change("nobody", PoolChange()),
        lambda: store.pools.delete("nobody"),
        lambda: store.pools.refill("nobody", 1, make_spec()),
    ):
        with pytest.raises(NotFound):
            await ask()


async def test_a_pool_is_filled_up_once(store: Store) -> None:
    pool = await store.pools.create(POOL)
    spec = spec_with(labels={"a": "b"}, ttl_seconds=60)
    assert await store.pools.refill(pool.id, 2, spec, memory_factor=2.0) == 2
    assert await store.pools.refill(pool.id, 2, spec) == 0
    assert await store.pools.refill(pool.id, 3, spec) == 1
    assert await store.pools.refill(pool.id, 1, spec) == 0
    members = await store.pools.members(pool.id)
    assert {member.purpose for member in members} == {Purpose.POOL_MEMBER}
    assert all(member.spec == make_spec() for member in members), "what a caller wants besides is not the pool's"
    queue = await store.admission.queue()
    assert {waiting.background for waiting in queue.waiting} == {True}
    needs = [waiting.needs for waiting in queue.waiting]
    assert sorted(needs, key=lambda one: one.memory_mib) == [
        *[demand(make_spec(), memory_factor=2.0)] * 2,
        demand(make_spec()),
    ]
    assert (await store.clusters.list()).clusters == ()


async def test_a_pool_is_filled_up_once_though_many_do_it_at_once(url: str) -> None:
    async with several_stores(url, 3) as stores:
        pool = await stores[0].pools.create(POOL)
        counts = await asyncio.gather(*(s.pools.refill(pool.id, 4, make_spec()) for s in stores for _ in range(3)))
        assert sum(counts) == 4
        assert len(await stores[0].pools.members(pool.id)) == 4


async def test_a_matching_request_claims_a_member_at_once(store: Store) -> None:
    pool, [first, second] = await _fill(store, 2)
    for member in (first, second):
        await set_back(store, member.id, clusters.c.created_at)
        await set_back(store, member.id, clusters.c.admitted_at)
    hold = Hold(datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1), "to look at")
    spec = spec_with(labels={"a": "b"}, ttl_seconds=600, heartbeat_interval_seconds=900, restart="never")
    cluster, created = await store.clusters.create(NewCluster("demo", spec, hold=hold))
    assert created
    assert cluster.id in {first.id, second.id}
    assert cluster == await store.clusters.get("demo")
    assert (cluster.phase, cluster.purpose, cluster.pool_id) == (Phase.PENDING, Purpose.CLUSTER, None)
    assert (cluster.spec, cluster.hold, cluster.owner) == (spec, hold, "default")
    assert cluster.reserved, "a worker lets it go on"
    assert cluster.created_at == cluster.admitted_at == cluster.heartbeat_at == cluster.active_at
    assert (cluster.ready_at, cluster.expires_at) == (None, cluster.created_at + timedelta(seconds=900))
    [listed] = (await store.clusters.list(labels={"a": "b"})).clusters
    assert listed == cluster
    event = (await store.clusters.events(cluster.id))[-1]
    assert event.type == "cluster.claimed"
    assert event.seconds == pytest.approx(3600, abs=10)
    assert (await claim_one(store)).cluster == replace(cluster, fence=cluster.fence + 1)
    assert [member.id for member in await store.pools.members(pool.id)] == [
        ({first.id, second.id} - {cluster.id}).pop()
    ]
    assert (await store.admission.duration_stats()).provisioning_seconds is None, (
        "it tells nothing of how long making one takes"
    )


async def test_a_labelled_member_can_be_claimed(store: Store) -> None:
    [member] = (await _fill(store, 1))[1]
    async with store._database.write() as transaction:
        row = {"cluster_id": member.id, "key": "a", "value": "b"}
        await transaction.connection.execute(insert(labels).values(row))
    mine = await create(store, labels={"a": "c"})
    assert mine.id == member.id
    assert (await store.clusters.list(labels={"a": "b"})).clusters == ()
    assert (await store.clusters.list(labels={"a": "c"})).clusters == (mine,)


async def test_who_waits_longest_is_taken_first(store: Store) -> None:
    _, members = await _fill(store, 3)
    ages = {member.id: seconds for member, seconds in zip(members, (60, 180, 120), strict=True)}
    for cluster_id, seconds in ages.items():
        await set_back(store, cluster_id, clusters.c.ready_at, seconds)
    taken = [(await create(store)).id for _ in members]
    assert taken == sorted(ages, key=lambda cluster_id: -ages[cluster_id])


async def test_the_pool_hears_that_a_member_was_taken(store: Store) -> None:
    [member] = (await _fill(store, 1))[1]
    with store.watch_queue() as queue, store.watch_work() as work, store.watch_requests(member.id) as request:
        await create(store)
        assert all([await watch.wait(5) for watch in (queue, work, request)])


async def test_what_does_not_fit_is_not_taken(store: Store) -> None:
    _, [member] = await _fill(store, 1)
    await create(store, owner="other")
    await create(store, isolation="strict")
    await create(store, workers=1)
    await create(store, readiness="booted")
    assert (await store.clusters.get(member.id)).purpose is Purpose.POOL_MEMBER
    assert (await create(store)).id == member.id


@pytest.mark.parametrize("state", ["making", "running", "leased", "leaving"])
async def test_a_member_that_is_not_there_to_be_taken_is_not(
    store: Store, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "WAIT_SECONDS", 0.1)  # for how long it stays leased
    pool = await store.pools.create(POOL)
    if state == "making":
        await store.pools.refill(pool.id, 1, pool.spec)
    else:
        [member] = await make_members(store, pool, 1)
        await store.maintenance.requeue([member.id])
        claim = await claim_one(store)
        if state == "running":
            await store.provisioning.set_paused(claim, paused=False)
        if state != "leased":
            await store.leases.release(claim, due_in_seconds=60)
        if state == "leaving":
            await store.pools.remove_members([member.id])
    cluster = await create(store)
    assert (cluster.phase, cluster.pool_id) == (Phase.PENDING, None)
    assert len(await store.pools.members(pool.id)) == 1


async def test_a_name_that_is_taken_takes_no_member(store: Store) -> None:
    await create(store, "demo", workers=1)
    pool, _ = await _fill_after(store)
    with pytest.raises(NameTaken):
        await store.clusters.create(NewCluster("demo", make_spec()))
    assert len(await store.pools.members(pool.id)) == 1


async def _fill_after(store: Store) -> tuple[Pool, tuple[Cluster, ...]]:
    """A pool with one member, beside a cluster that a worker holds."""
    await admit_all(store)
    await claim_one(store)
    return await _fill(store, 1)


async def test_an_idempotency_key_gives_the_member_that_it_took(store: Store) -> None:
    pool, members = await _fill(store, 2)
    key = IdempotencyKey("key", "fingerprint")
    cluster, created = await store.clusters.create(NewCluster(None, make_spec()), key)
    assert created
    assert cluster.id in {member.id for member in members}
    assert await store.clusters.create(NewCluster(None, make_spec()), key) == (cluster, False)
    with pytest.raises(IdempotencyKeyReused):
        await store.clusters.create(NewCluster(None, make_spec()), IdempotencyKey("key", "another"))
    assert len(await store.pools.members(pool.id)) == 1


async def test_no_member_is_claimed_twice(url: str) -> None:
    """More callers than members: who comes too late waits in the queue."""
    async with several_stores(url, 3) as stores:
        _, members = await _fill(stores[0], 6, NewPool("warm", "default", make_spec(), 6, 6))
        made = await asyncio.gather(
            *(s.clusters.create(NewCluster(None, make_spec())) for s in stores for _ in range(4))
        )
        assert len({cluster.id for cluster, _ in made}) == 12
        assert {cluster.id for cluster, _ in made if cluster.reserved} == {member.id for member in members}
        assert len((await stores[0].admission.queue()).waiting) == 6


async def test_one_key_takes_one_member_though_it_is_sent_by_many_at_once(url: str) -> None:
    async with several_stores(url, 3) as stores:
        pool, _ = await _fill(stores[0], 6, NewPool("warm", "default", make_spec(), 6, 6))
        key = IdempotencyKey("key", "fingerprint")
        requests = (store.clusters.create(NewCluster(None, make_spec()), key) for store in stores * 4)
        made = await asyncio.gather(*requests)
        assert len({cluster.id for cluster, _ in made}) == 1
        assert sum(created for _, created in made) == 1
        assert len(await stores[0].pools.members(pool.id)) == 5


async def test_members_are_dismissed_and_callers_are_not(store: Store) -> None:
    pool, members = await _fill(store, 3)
    cluster = await create(store)
    left = [member.id for member in members if member.id != cluster.id]
    assert await store.pools.remove_members([cluster.id, left[0], "0123456789ab"]) == 1
    assert await store.pools.remove_members([left[0]]) == 0
    assert (await store.clusters.get(cluster.id)).desired is Desired.PRESENT
    assert (await store.clusters.get(left[0])).desired is Desired.ABSENT
    assert await store.pools.refill(pool.id, 2, pool.spec) == 1, "who is to go is none that stays"


async def test_a_pools_members_go_with_it(store: Store) -> None:
    pool, members = await _fill(store, 2)
    cluster = await create(store)
    assert await store.pools.delete("warm") == pool
    assert await store.pools.list() == ()
    assert (await store.clusters.get(cluster.id)).desired is Desired.PRESENT
    [left] = {member.id for member in members} - {cluster.id}
    claims = await store.leases.claim("worker", lease_seconds=60, limit=3)
    assert {claim.cluster.id for claim in claims} == {cluster.id, left}
    [leaving] = [claim for claim in claims if claim.cluster.id == left]
    assert leaving.cluster.desired is Desired.ABSENT
    await move(store, leaving, Phase.DELETING, Phase.DELETED)
    assert await store.pools.members(pool.id) == ()
