"""TTL, heartbeats and holds: one rule for a cluster's expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Hold
from dayfly.domain.cluster.spec import VmsUnderHold
from dayfly.domain.scheduling.resources import stopped_demand
from dayfly.store import Change, Store
from dayfly.store.db.tables import clusters
from tests.support.specs import make_spec
from tests.support.world import GIVE_UP_SECONDS, World


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def hold(seconds: float, vms: VmsUnderHold = "running") -> Hold:
    return Hold(datetime.now(UTC) + timedelta(seconds=seconds), "somebody looks at it", vms)


async def ready(world: World, hold: Hold | None = None, **spec: object) -> Cluster:
    return await world.until(await world.create(make_spec().model_copy(update=spec), hold=hold), Phase.READY)


def states(world: World) -> Mapping[str, str]:
    return {name.rpartition("-")[2]: container.state for name, container in world.engine.containers.items()}


async def pass_time(world: World, cluster: Cluster, seconds: int) -> None:
    """As if the cluster had been ready for `seconds` more."""
    past = timedelta(seconds=seconds)
    row = await world.store.clusters.get(cluster.id)
    assert row.ready_at is not None
    assert row.expires_at is not None
    times = {"ready_at": row.ready_at - past, "expires_at": row.expires_at - past}
    async with world.store._database.write() as transaction:
        await transaction.connection.execute(update(clusters).where(clusters.c.id == cluster.id).values(times))
    await world.store.maintenance.requeue([cluster.id])


async def test_time_to_live_ends_a_cluster_after_a_warning(world: World) -> None:
    async with world.working():
        cluster = await ready(world, ttl_seconds=100)
        await pass_time(world, cluster, 85)
        warning = await world.until_event(cluster, lambda event: event.type == "cluster.expiring")
        assert "time to live" in warning.message
        await pass_time(world, cluster, 20)
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.containers
    types = [e.type for e in await world.store.clusters.events(cluster.id)]
    assert types.index("cluster.expiring") < types.index("cluster.expired")
    assert types.count("cluster.expiring") == 1


async def test_time_in_the_queue_costs_nothing(world: World) -> None:
    cluster = await world.create(make_spec().model_copy(update={"ttl_seconds": 1}))
    assert cluster.expires_at is None
    async with world.working():
        seen = await world.until(cluster, Phase.READY)
    assert seen.ready_at is not None
    assert seen.expires_at == seen.ready_at + timedelta(seconds=1)


async def test_an_extension_counts_whoever_reaps(world: World) -> None:
    async with world.working():
        cluster = await ready(world, ttl_seconds=1)
        extended = await world.store.updates.change(cluster.id, Change(ttl_seconds=3600))
        assert cluster.ready_at is not None
        assert extended.expires_at == cluster.ready_at + timedelta(seconds=3600)
        other = await ready(world, ttl_seconds=1)
        await world.until(other, Phase.DELETED)
        assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY


async def test_a_silent_caller_loses_its_cluster(world: World) -> None:
    async with world.working():
        cluster = await ready(world, heartbeat_interval_seconds=1)
        await world.until(cluster, Phase.DELETED)
    (expired,) = [e for e in await world.store.clusters.events(cluster.id) if e.type == "cluster.expired"]
    assert "heartbeat" in expired.message


async def test_a_silent_caller_loses_its_place_in_the_queue_too(world: World) -> None:
    world.offered -= world.offered
    async with world.working():
        cluster = await world.create(make_spec().model_copy(update={"heartbeat_interval_seconds": 1}))
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.created


async def test_a_failed_cluster_that_is_held_keeps_its_machines_until_the_hold_ends(world: World) -> None:
    world.ssh.never_answers()
    async with world.working():
        cluster = await world.create(make_spec(), hold=hold(3600))
        failed = await world.until(cluster, Phase.FAILED)
        assert failed.reserved
        assert states(world) == {"net": "running", "registry": "running", "node01": "running"}
        await world.store.updates.change(cluster.id, Change(hold=None))
        freed = await world.until_so(cluster, lambda now: not now.reserved)
    assert freed.phase is Phase.FAILED
    assert not world.engine.containers


async def test_a_hold_may_stop_the_machines(world: World) -> None:
    world.ssh.never_answers()
    async with world.working():
        cluster = await world.create(make_spec(), hold=hold(3600, "stopped"))
        await world.until(cluster, Phase.FAILED)
    assert states(world)["node01"] == "exited"
    # Machines that never run again keep no other cluster in the queue.
    assert (await world.store.admission.queue()).in_use == stopped_demand(make_spec())


async def test_a_hold_may_be_changed_to_stop_them_later(world: World) -> None:
    world.ssh.never_answers()
    async with world.working():
        cluster = await world.create(make_spec(), hold=hold(3600))
        await world.until(cluster, Phase.FAILED)
        assert states(world)["node01"] == "running"
        await world.store.updates.change(cluster.id, Change(hold=hold(3600, "stopped")))
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while states(world)["node01"] != "exited":  # noqa: ASYNC110 - the fake has no event for it
                await asyncio.sleep(0)


async def test_a_hold_that_lapses_by_itself_ends_what_it_kept(world: World) -> None:
    async with world.working():
        cluster = await ready(world, hold(2), ttl_seconds=1)
        await world.until(cluster, Phase.DELETED)
    deleted = await world.store.clusters.get(cluster.id)
    assert deleted.deleted_at is not None
    assert deleted.hold is not None
    assert deleted.deleted_at >= deleted.hold.until
    assert not world.engine.containers


async def test_an_expired_cluster_under_a_hold_that_stops_fails_by_name_and_keeps_its_disks(world: World) -> None:
    async with world.working():
        cluster = await ready(world, hold(3600, "stopped"), ttl_seconds=1)
        failed = await world.until(cluster, Phase.FAILED)
        assert failed.fault is not None
        assert failed.fault.code == "expired"
        assert states(world)["node01"] == "exited"
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    assert not world.engine.containers
