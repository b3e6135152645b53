"""Quotas: what teams have is counted and checked in the transactions that take more."""

from __future__ import annotations

import asyncio
import json

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.quota import Given, Quota
from dayfly.domain.scheduling.resources import demand
from dayfly.errors import DatabaseUnavailable, QuotaExceeded
from dayfly.store import Change, IdempotencyKey, NewCluster, NewPool, PoolChange, Store
from tests.store.helpers import (
    LEASE_SECONDS,
    admit_all,
    claim_one,
    create,
    make_members,
    make_ready,
    move,
    several_stores,
    spec_with,
)
from tests.support import webhooks
from tests.support.specs import make_spec

ONE = demand(make_spec())


async def limit(store: Store, team: str = "default", **limits: int | None) -> None:
    await store.quotas.set(Given(limits), team)


async def test_without_a_quota_nothing_is_limited(store: Store) -> None:
    assert await store.quotas.of("default") == Quota()
    await create(store)
    assert (await store.quotas.used("default"))["clusters"] == 1


async def test_a_teams_own_quota_and_the_default(store: Store) -> None:
    await store.quotas.set(Given({"clusters": 1, "vcpus": 100}, 2.0))
    await limit(store, "free", clusters=None)
    assert await store.quotas.of("free") == Quota({"clusters": None, "vcpus": 100}, 2.0)
    await store.quotas.set(Given(isolation="strict_only"), "apart")
    assert await store.quotas.of("apart") == Quota({"clusters": 1, "vcpus": 100}, 2.0, "strict_only")
    for _ in range(2):
        await create(store, owner="free")
    await create(store, owner="other")
    with pytest.raises(QuotaExceeded, match="clusters: team other may have 1, has 1"):
        await create(store, owner="other")
    assert set(await store.quotas.given()) == {"*", "free", "apart"}
    await store.quotas.set(Given())
    await create(store, owner="other")


@pytest.mark.parametrize("name", ["clusters", "creating", "vcpus", "memory_mib", "disk_gib"])
async def test_each_quota_of_clusters(store: Store, name: str) -> None:
    amount = {"clusters": 1, "creating": 1, **vars(ONE)}[name]
    await limit(store, **{name: 2 * amount})
    for number in range(2):
        await create(store, f"made-{number}")
    with pytest.raises(QuotaExceeded) as refused:
        await create(store)
    error = refused.value
    assert (error.team, error.quota, error.limit, error.used, error.wanted) == (
        "default",
        name,
        2 * amount,
        2 * amount,
        amount,
    )
    assert dict(error.largest) == {"made-0": amount, "made-1": amount}
    assert len((await store.clusters.list()).clusters) == 2
    await create(store, owner="other")


async def test_requests_at_once_never_exceed_a_quota_together(url: str) -> None:
    async def insist(store: Store) -> None:
        """As a caller does while the database is too busy."""
        while True:
            try:
                await create(store)
            except DatabaseUnavailable:
                continue
            else:
                return

    async with several_stores(url, 4) as stores:
        await limit(stores[0], vcpus=7 * ONE.vcpus)
        results = await asyncio.gather(*(insist(stores[one % 4]) for one in range(50)), return_exceptions=True)
        assert {type(one) for one in results} == {type(None), QuotaExceeded}
        assert len((await stores[0].clusters.list()).clusters) == 7
        assert (await stores[0].quotas.used("default"))["vcpus"] == 7 * ONE.vcpus


async def test_a_repeated_request_is_not_counted_again(store: Store) -> None:
    await limit(store, clusters=1)
    key = IdempotencyKey("key", "x")
    first, _ = await store.clusters.create(NewCluster("demo", make_spec()), key)
    again, created = await store.clusters.create(NewCluster("demo", make_spec()), key)
    assert (again.id, created) == (first.id, False)


async def test_what_ends_is_free_again(store: Store) -> None:
    await limit(store, clusters=1, creating=1, **vars(ONE))
    await create(store)
    await admit_all(store)
    claim = await claim_one(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    used = await store.quotas.used("default")
    assert (used["creating"], used["clusters"], used["vcpus"]) == (0, 1, ONE.vcpus)
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    assert set((await store.quotas.used("default")).values()) == {0}
    await create(store)


async def test_a_hibernated_cluster_takes_disk_and_may_be_refused_to_resume(store: Store) -> None:
    await limit(store, vcpus=ONE.vcpus)
    asleep = await make_ready(store, "asleep")
    await store.lifecycle.hibernate(asleep.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.HIBERNATED)
    await store.leases.release(claim, due_in_seconds=None)
    used = await store.quotas.used("default")
    assert (used["vcpus"], used["memory_mib"], used["clusters"]) == (0, 0, 1)
    assert used["disk_gib"] > ONE.disk_gib
    other = await create(store, "other")
    with pytest.raises(QuotaExceeded, match=r"vcpus: .*\(other "):
        await store.lifecycle.resume(asleep.id)
    await store.lifecycle.delete(other.id)
    await admit_all(store)
    claim = await claim_one(store)
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    await store.lifecycle.resume(asleep.id)
    # From the request on, before a worker has seen it.
    assert (await store.quotas.used("default"))["vcpus"] == ONE.vcpus
    with pytest.raises(QuotaExceeded, match="vcpus"):
        await create(store)


async def test_the_longest_time_to_live(store: Store) -> None:
    await limit(store, max_ttl_seconds=60)
    for ttl in (None, 61):
        with pytest.raises(QuotaExceeded, match="ttl_seconds"):
            await create(store, ttl_seconds=ttl)
    made = await create(store, ttl_seconds=60)
    with pytest.raises(QuotaExceeded, match="ttl_seconds"):
        await store.updates.change(made.id, Change(ttl_seconds=3600))
    await store.updates.change(made.id, Change(labels={"a": "b"}))


async def test_members_of_pools(store: Store) -> None:
    await limit(store, pool_members=3, clusters=1)
    pool = await store.pools.create(NewPool("ci", "default", spec_with(), 2, 2))
    await make_members(store, pool, 2)
    with pytest.raises(QuotaExceeded, match=r"pool_members: .* has 2 \(ci 2\), and the request needs 2 more"):
        await store.pools.create(NewPool("more", "default", spec_with(), 2, 9))
    with pytest.raises(QuotaExceeded):
        await store.pools.change("ci", PoolChange(size=4, maximum=4))
    await store.pools.change("ci", PoolChange(size=3, maximum=3))
    await store.pools.change("ci", PoolChange(size=0))
    used = await store.quotas.used("default")
    assert (used["pool_members"], used["clusters"], used["vcpus"]) == (0, 0, 0), "members are no callers' clusters"
    claimed = await create(store)
    assert claimed.purpose is Purpose.CLUSTER
    assert (await store.quotas.used("default"))["clusters"] == 1
    with pytest.raises(QuotaExceeded, match="clusters"):
        await create(store)


async def test_templates_and_their_disk(store: Store) -> None:
    await limit(store, templates=1)
    template, _ = await store.templates.create(spec_with(), "default", "key")
    again, created = await store.templates.create(spec_with(), "default", "key")
    assert (again.id, created) == (template.id, False)
    with pytest.raises(QuotaExceeded, match=rf"templates: .*\({template.id} 1\)"):
        await store.templates.create(spec_with(), "default", "other")
    _, created = await store.templates.create(spec_with(), "default", "of a pool", limited=False)
    assert created
    saved = (await store.quotas.used("default"))["saved_gib"]
    assert saved >= 1, "what is not saved yet counts with its memory"
    await limit(store, saved_gib=saved)
    with pytest.raises(QuotaExceeded, match="saved_gib"):
        await store.templates.create(spec_with(), "default", "more")


async def test_checkpoints_take_disk(store: Store) -> None:
    await limit(store, saved_gib=1)
    made = await make_ready(store, "demo")
    await store.checkpoints.create(made.id, "first")
    assert (await store.quotas.used("default"))["saved_gib"] == 1
    with pytest.raises(QuotaExceeded, match="saved_gib"):
        await store.checkpoints.create((await make_ready_beside(store)).id, "second")


async def make_ready_beside(store: Store) -> Cluster:
    made = await create(store, "beside")
    await admit_all(store)
    for claim in await store.leases.claim("worker", lease_seconds=LEASE_SECONDS, limit=10):
        if claim.cluster.id == made.id:
            await move(store, claim, Phase.PROVISIONING, Phase.READY)
        await store.leases.release(claim, due_in_seconds=3600)
    return made


async def test_the_webhooks_of_a_team_are_told_once_in_a_while(store: Store) -> None:
    webhook, other = await webhooks.create(store), await webhooks.create(store, "other")
    quiet = await webhooks.create(store, events=webhooks.ALL[:1])
    await limit(store, clusters=0)
    for _ in range(3):
        with pytest.raises(QuotaExceeded) as refused:
            await create(store)
        await store.quotas.refused(refused.value)
    assert await webhooks.types(store, webhook) == ["quota"]
    assert await webhooks.types(store, other) == await webhooks.types(store, quiet) == []
    [held] = await webhooks.claim(store)
    assert json.loads(held.body)["data"] == {
        "team": "default",
        "cluster": None,
        "quota": {"name": "clusters", "limit": 0, "used": 0, "wanted": 1},
    }
    await webhooks.set_times(store, created_at=-601)
    await asyncio.gather(*(store.quotas.refused(refused.value) for _ in range(3)))
    assert await webhooks.types(store, webhook) == ["quota", "quota"]


async def test_refusals_at_once_tell_a_webhook_once(url: str) -> None:
    async with several_stores(url, 4) as stores:
        refused = QuotaExceeded("over", team="default", quota="clusters", limit=0)
        for number in range(5):
            webhook = await webhooks.create(stores[0])
            await asyncio.gather(*(store.quotas.refused(refused) for store in stores * 2))
            assert await webhooks.types(stores[0], webhook) == ["quota"], number


async def test_the_queue_has_the_weights(store: Store) -> None:
    await store.quotas.set(Given(weight=2.0))
    await store.quotas.set(Given(weight=5.0), "big")
    await limit(store, "plain", clusters=5)
    queue = await store.admission.queue()
    assert [queue.weight(team) for team in ("big", "plain", "other")] == [5.0, 2.0, 2.0]
