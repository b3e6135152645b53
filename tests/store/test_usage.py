"""Usage intervals: when they begin and end, by whom, and what is left of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Row, select, update

from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Fault
from dayfly.domain.scheduling.resources import Resources, demand, hibernated_demand, stopped_demand
from dayfly.domain.usage import Grouping
from dayfly.store import Change, NewCluster, NewPool, Store
from dayfly.store.clusters import pool_claims
from dayfly.store.db.accounting_tables import usage_intervals
from tests.store.helpers import (
    admit_all,
    claim_new,
    claim_one,
    create,
    create_due,
    make_members,
    make_ready,
    make_template,
    move,
    spec_with,
)
from tests.support.databases import KEYS
from tests.support.postgres import PostgresServer
from tests.support.usage_play import UsagePlay, check
from tests.support.virtual_postgres import postgres_with_set_clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def intervals(store: Store, cluster_id: str) -> Sequence[Row[Any]]:
    async with store._database.read() as connection:
        table = usage_intervals
        query = select(table).where(table.c.cluster_id == cluster_id).order_by(table.c.id)
        return (await connection.execute(query)).all()


async def used(store: Store, cluster_id: str) -> list[Resources]:
    """What the cluster used, one interval after the other; the intervals have no gap but where nothing is used."""
    rows = await intervals(store, cluster_id)
    assert all(row.ended_ms is not None and row.ended_ms >= row.began_ms for row in rows[:-1])
    assert all(one.ended_ms <= following.began_ms for one, following in pairwise(rows))
    return [Resources(row.vcpus, row.memory_mib, row.disk_gib) for row in rows]


async def is_used(store: Store, cluster: Cluster) -> bool:
    return any(row.ended_ms is None for row in await intervals(store, cluster.id))


async def test_usage_begins_at_the_admission_and_ends_with_the_deletion(store: Store) -> None:
    cluster = await create(store, owner="red", workers=2)
    assert await used(store, cluster.id) == []
    await admit_all(store)
    claim = await claim_one(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY, Phase.DELETING)
    assert await is_used(store, cluster), "it is removed only now"
    await move(store, claim, Phase.DELETED)
    assert await used(store, cluster.id) == [demand(cluster.spec)]
    [row] = await intervals(store, cluster.id)
    assert row.ended_ms is not None
    assert (row.owner, row.principal, row.labels) == ("red", "unauthenticated", {})
    assert await store.maintenance.purge_deleted(-1, 10) == 1
    assert len(await intervals(store, cluster.id)) == 1, "usage outlives the record"


async def test_a_hibernated_cluster_uses_disk_also_in_the_queue(store: Store) -> None:
    cluster = await make_ready(store)
    whole, asleep = demand(cluster.spec), hibernated_demand(cluster.spec)
    await store.lifecycle.hibernate(cluster.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.HIBERNATED)
    await store.leases.release(claim, due_in_seconds=None)
    await store.lifecycle.resume(cluster.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.PENDING)
    await store.leases.release(claim, due_in_seconds=None)
    assert await used(store, cluster.id) == [whole, asleep]
    assert await is_used(store, cluster)
    await admit_all(store)
    await store.provisioning.begin(await claim_one(store), IMAGE)
    assert await used(store, cluster.id) == [whole, asleep, replace(whole, disk_gib=asleep.disk_gib), whole]


async def test_a_cluster_deleted_in_the_queue_to_be_resumed_uses_disk_until_it_is_gone(store: Store) -> None:
    cluster = await make_ready(store)
    await store.lifecycle.hibernate(cluster.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.HIBERNATED)
    await store.leases.release(claim, due_in_seconds=0)
    await store.lifecycle.resume(cluster.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.PENDING, Phase.DELETING)
    assert await is_used(store, cluster)
    await move(store, claim, Phase.DELETED)
    assert not await is_used(store, cluster)


@pytest.mark.parametrize("free", [True, False])
async def test_a_failed_cluster_uses_what_is_left_of_it(store: Store, free: bool) -> None:
    claim = await claim_new(store)
    cluster = claim.cluster
    await move(store, claim, Phase.PROVISIONING)
    await store.status.set_phase(claim, Phase.FAILED, fault=Fault("boot_failed", "it broke"), free=free)
    assert await is_used(store, cluster) is not free
    if not free:
        await store.status.free_machines(claim)
        await store.status.free(claim)
        assert not await is_used(store, cluster)
        assert await used(store, cluster.id) == [demand(cluster.spec), stopped_demand(cluster.spec)]


async def test_another_principal_and_other_labels_begin_another_interval(store: Store) -> None:
    pool = await store.pools.create(NewPool("warm", "red", spec_with(), 1, 1))
    [member] = await make_members(store, pool, 1)
    wanted = NewCluster(None, spec_with(labels={"ci": "unit"}), "red", principal="token:1")
    claimed, _ = await store.clusters.create(wanted)
    assert claimed.id == member.id
    await store.updates.change(claimed.id, Change(ttl_seconds=900))
    await store.updates.change(claimed.id, Change(labels={"ci": "e2e"}))
    rows = await intervals(store, member.id)
    assert [(row.principal, row.labels) for row in rows] == [
        (f"pool:{pool.id}", {}),
        ("token:1", {"ci": "unit"}),
        ("token:1", {"ci": "e2e"}),
    ]
    assert [row.ended_ms for row in rows[:-1]] == [row.began_ms for row in rows[1:]]


async def test_clusters_that_build_a_template_count_for_its_team(store: Store) -> None:
    template = await make_template(store)
    async with store._database.read() as connection:
        rows = (await connection.execute(select(usage_intervals))).all()
    assert {(row.owner, row.principal) for row in rows} == {("default", f"template:{template.id}")}
    assert all(row.ended_ms is not None for row in rows)


async def test_a_change_that_is_rolled_back_has_no_interval(store: Store) -> None:
    claim = await claim_new(store)
    before = await intervals(store, claim.cluster.id)
    with pytest.raises(Exception, match="no transition"):
        await store.status.set_phase(claim, Phase.HIBERNATED)
    assert await intervals(store, claim.cluster.id) == before


async def test_a_report_is_of_a_team_and_a_period(store: Store) -> None:
    for team in ("red", "blue"):
        made = await create_due(store, None, owner=team)
        async with store._database.write() as transaction:
            past = int((transaction.now - EPOCH).total_seconds() // 86400) * 86_400_000 - 3_600_000
            back = update(usage_intervals).where(usage_intervals.c.cluster_id == made.id).values(began_ms=past)
            await transaction.execute(back)
    midnight = datetime.fromtimestamp(past // 1000 + 3600, UTC)
    by = Grouping(team=True, day=True)
    hour = await store.usage.report(by, midnight - timedelta(days=1), midnight, team="red")
    [(group, sums)] = hour.groups()
    assert (group.team, group.day) == ("red", (midnight - timedelta(days=1)).date())
    assert (sums.vcpu_seconds, sums.memory_mib_seconds, sums.disk_gib_seconds) == (7200, 704 * 3600, 8 * 3600)
    assert hour.total == sums
    both = await store.usage.report(by, midnight - timedelta(days=1))
    assert {(group.team, group.day) for group, _ in both.groups()} >= {
        (team, (midnight - timedelta(days=1)).date()) for team in ("red", "blue")
    }
    future = datetime(9999, 1, 1, tzinfo=UTC)
    nothing = await store.usage.report(by, future, future)
    assert nothing.groups() == []
    assert nothing.since == nothing.until < future.timestamp()
    backwards = await store.usage.report(by, midnight, midnight - timedelta(days=1))
    assert backwards.groups() == []


async def test_old_intervals_are_purged_when_they_have_ended(store: Store) -> None:
    over = await claim_new(store)
    await move(store, over, Phase.DELETING, Phase.DELETED)
    running = await make_ready(store)
    long = 3600.0
    assert await store.maintenance.purge_accounts(usage_seconds=long, audit_seconds=long) == 0
    assert await store.maintenance.purge_accounts(usage_seconds=-long, audit_seconds=long) == 1
    assert await intervals(store, over.cluster.id) == []
    assert len(await intervals(store, running.id)) == 1


async def test_usage_on_postgresql_adds_up(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tests/scenarios/test_usage.py on SQLite."""
    monkeypatch.setattr(pool_claims, "WAIT_SECONDS", 0.0)  # no worker runs beside the play, for which to wait
    with postgres_with_set_clock(postgres) as (url, clock):
        first = await Store.open(url, KEYS)
        try:
            play = UsagePlay(clock, lambda: Store(first._database, clock.boot_time), seed=3)
            await play.run(clusters=1000, rounds=25)
            report = await check(play)
            assert report.total.vcpu_seconds > 10**5
            assert len(play.account.closed) > 1000
        finally:
            await first.close()
