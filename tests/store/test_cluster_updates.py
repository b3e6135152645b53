"""Updates of clusters: TTL, labels, holds, heartbeats; and the resulting time of expiry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Hold, NewEvent
from dayfly.errors import Conflict, InvalidRequest, NotFound
from dayfly.store import Change, Store
from dayfly.store.db.tables import clusters
from tests.store.helpers import claim_new, claim_one, create, move, set_back

SECOND = timedelta(seconds=1)


def hold_for(seconds: float = 3600, **fields: object) -> Hold:
    """To the second, as callers give it."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    return Hold(until, "to look at", **fields)  # type: ignore[arg-type]


async def ready(store: Store, **fields: object) -> Cluster:
    claim = await claim_new(store, None, **fields)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.leases.release(claim, due_in_seconds=None)
    return await store.clusters.get(claim.cluster.id)


async def test_a_time_to_live_counts_from_ready(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    assert claim.cluster.expires_at is None
    await move(store, claim, Phase.PROVISIONING)
    cluster = await store.status.set_phase(claim, Phase.READY)
    assert cluster.ready_at is not None
    assert cluster.expires_at == cluster.ready_at + timedelta(seconds=600)


async def test_or_from_when_it_failed(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    await move(store, claim, Phase.PROVISIONING)
    cluster = await store.status.set_phase(claim, Phase.FAILED)
    assert cluster.failed_at == cluster.updated_at
    assert cluster.expires_at == cluster.updated_at + timedelta(seconds=600)


async def test_who_comes_back_was_ready_before(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    await move(store, claim, Phase.PROVISIONING)
    first = await store.status.set_phase(claim, Phase.READY)
    await move(store, claim, Phase.PROVISIONING)
    again = await store.status.set_phase(claim, Phase.READY)
    assert (again.ready_at, again.expires_at) == (first.ready_at, first.expires_at)
    seconds = [e.seconds for e in await store.clusters.events(again.id) if e.message == "provisioning → ready"]
    assert [value is not None for value in seconds] == [True, True]


async def test_a_longer_life(store: Store) -> None:
    before = await ready(store, ttl_seconds=600)
    after = await store.updates.change(before.name, Change(ttl_seconds=1200))
    assert after == await store.clusters.get(before.id)
    assert before.ready_at is not None
    assert after.expires_at == before.ready_at + timedelta(seconds=1200)
    assert after.spec == before.spec.model_copy(update={"ttl_seconds": 1200})
    event = (await store.clusters.events(before.id))[-1]
    assert (event.type, event.message) == ("cluster.changed", "time to live: 600 s → 1200 s")
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 950 < seconds <= 960, "its end is warned of a fifth of its time before, at most five minutes"


async def test_a_life_without_an_end(store: Store) -> None:
    before = await ready(store, ttl_seconds=600)
    after = await store.updates.change(before.id, Change(ttl_seconds=None))
    assert after.expires_at is None
    assert await store.leases.seconds_until_due() is None


async def test_a_life_that_is_over_already(store: Store) -> None:
    before = await ready(store, ttl_seconds=600)
    await set_back(store, before.id, clusters.c.ready_at)
    with store.watch_work() as work:
        await store.updates.change(before.id, Change(ttl_seconds=1))
        assert await work.wait(10)
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_labels_are_replaced_and_found(store: Store) -> None:
    made = await create(store, labels={"team": "a", "job": "1"})
    after = await store.updates.change(made.id, Change(labels={"team": "b"}))
    assert after.spec.labels == {"team": "b"}
    assert (await store.clusters.list(labels={"team": "b"})).clusters == (after,)
    assert (await store.clusters.list(labels={"job": "1"})).clusters == ()
    await store.updates.change(made.id, Change(labels={}))
    assert (await store.clusters.list(labels={"team": "b"})).clusters == ()
    assert [e.message for e in await store.clusters.events(made.id)] == ["labels: team=b", "labels: none"]


async def test_what_stays_the_same_is_no_change(store: Store) -> None:
    made = await create(store, ttl_seconds=600, labels={"team": "a"})
    assert await store.updates.change(made.id, Change(ttl_seconds=600, labels={"team": "a"}, hold=None)) == made
    assert await store.updates.change(made.id, Change()) == made
    assert await store.clusters.events(made.id) == ()


async def test_the_limits_see_the_cluster_as_it_would_be(store: Store) -> None:
    before = await ready(store, ttl_seconds=600)
    seen: list[Cluster] = []

    def allow(cluster: Cluster) -> None:
        seen.append(cluster)
        raise InvalidRequest("too long")

    with pytest.raises(InvalidRequest, match="too long"):
        await store.updates.change(before.id, Change(ttl_seconds=10**6, hold=hold_for()), allow)
    assert before.ready_at is not None
    assert seen[0].expires_at == before.ready_at + timedelta(seconds=10**6)
    assert seen[0].hold is not None
    assert await store.clusters.get(before.id) == before


async def test_what_is_to_be_removed_is_not_changed(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.updates.change("nobody", Change())
    with pytest.raises(NotFound):
        await store.updates.heartbeat("nobody")
    made = await create(store, heartbeat_interval_seconds=60)
    await store.lifecycle.delete(made.id)
    for attempt in (store.updates.change(made.id, Change(ttl_seconds=1)), store.updates.heartbeat(made.id)):
        with pytest.raises(Conflict):
            await attempt
    await move(store, await claim_one(store), Phase.DELETING, Phase.DELETED)
    for attempt in (store.updates.change(made.id, Change(ttl_seconds=1)), store.updates.heartbeat(made.id)):
        with pytest.raises(Conflict):
            await attempt


async def test_a_hold_puts_off_the_end_and_lapses(store: Store) -> None:
    hold = hold_for(vms="stopped")
    before = await ready(store, ttl_seconds=600)
    after = await store.updates.change(before.id, Change(hold=hold))
    assert after.hold == hold
    for time in (clusters.c.ready_at, clusters.c.expires_at, clusters.c.due_at):
        await set_back(store, before.id, time)
    claim = await claim_one(store)
    assert claim.cluster.desired is Desired.PRESENT
    assert (await store.leases.renew(claim, lease_seconds=60)).desired is Desired.PRESENT
    await set_back(store, before.id, clusters.c.hold_until, 1)
    assert (await store.leases.renew(claim, lease_seconds=60)).desired is Desired.ABSENT


async def test_a_hold_taken_back_ends_what_it_kept(store: Store) -> None:
    before = await ready(store, ttl_seconds=600)
    await store.updates.change(before.id, Change(hold=hold_for()))
    for time in (clusters.c.ready_at, clusters.c.expires_at, clusters.c.warned_at):
        await set_back(store, before.id, time)
    await store.updates.change(before.id, Change(hold=None))
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_a_hold_from_the_beginning(store: Store) -> None:
    hold = hold_for()
    made = await create(store, hold=hold)
    assert made.hold == hold
    assert (await store.clusters.get(made.id)).hold == hold


async def test_a_warning_comes_again_when_the_end_has_moved(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.status.warned(claim, NewEvent("cluster.expiring", "soon"))
    await store.leases.release(claim, due_in_seconds=None)
    identity = claim.cluster.id
    assert (await store.clusters.get(identity)).warned_at is not None
    assert (await store.clusters.events(identity))[-1].type == "cluster.expiring"
    assert (await store.updates.change(identity, Change(ttl_seconds=300))).warned_at is not None
    assert (await store.updates.change(identity, Change(labels={"a": "b"}))).warned_at is not None
    assert (await store.updates.change(identity, Change(ttl_seconds=900))).warned_at is None


async def test_silence_from_the_beginning_ends_a_cluster_that_asks_for_heartbeats(store: Store) -> None:
    made = await create(store, heartbeat_interval_seconds=60)
    assert made.heartbeat_at == made.created_at
    assert made.expires_at == made.created_at + timedelta(seconds=60)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 38 < seconds <= 48
    for time in (clusters.c.heartbeat_at, clusters.c.expires_at, clusters.c.due_at):
        await set_back(store, made.id, time)
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_a_heartbeat_extends_the_expiry_without_a_notification(store: Store) -> None:
    before = await ready(store, heartbeat_interval_seconds=60)
    for time in (clusters.c.heartbeat_at, clusters.c.expires_at):
        await set_back(store, before.id, time, 30)
    with store.watch_work() as work, store.watch_queue() as queue, store.watch(before.id) as cluster:
        after = await store.updates.heartbeat(before.name)
        for watch in (work, queue, cluster):
            assert not await watch.wait(0.05)
    assert after == await store.clusters.get(before.id)
    assert after.heartbeat_at is not None
    assert abs(after.heartbeat_at - datetime.now(UTC)) < 10 * SECOND
    assert after.expires_at == after.heartbeat_at + timedelta(seconds=60)
    assert {event.type for event in await store.clusters.events(before.id)} == {"cluster.admitted", "phase"}


async def test_a_heartbeat_needs_a_heartbeat_interval(store: Store) -> None:
    made = await create(store)
    with pytest.raises(Conflict):
        await store.updates.heartbeat(made.id)


async def test_the_earliest_end_counts(store: Store) -> None:
    cluster = await ready(store, ttl_seconds=600, heartbeat_interval_seconds=60)
    assert cluster.heartbeat_at is not None
    assert cluster.expires_at == cluster.heartbeat_at + timedelta(seconds=60)
    again = await store.updates.change(cluster.id, Change(ttl_seconds=10))
    assert again.ready_at is not None
    assert again.expires_at == again.ready_at + timedelta(seconds=10)


async def test_one_that_may_be_idle_from_now_on_is_looked_at(store: Store) -> None:
    cluster = await ready(store)
    assert await store.leases.seconds_until_due() is None
    with store.watch_work() as watch:
        changed = await store.updates.change(cluster.id, Change(idle_seconds=400))
        assert await watch.wait(5), "who sleeps for longer is woken"
    assert changed.active_at == changed.updated_at
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 90 <= seconds <= 100
    again = await store.updates.change(cluster.id, Change(labels={"a": "b"}))
    assert (again.spec.idle_seconds, again.active_at) == (400, changed.active_at)


async def test_one_that_becomes_so_while_it_is_at_work_is_looked_at_afterwards(store: Store) -> None:
    cluster = await ready(store)
    await store.maintenance.requeue([cluster.id])
    claim = await claim_one(store)
    await store.updates.change(cluster.id, Change(idle_seconds=400))
    await store.leases.release(claim, due_in_seconds=None)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 90 <= seconds <= 100
