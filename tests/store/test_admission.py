"""The queue: order, single admission, and the host's capacity as the bound."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.scheduling.fair_queue import DurationStats, Queue, Waiting, admissible
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.store import Store
from dayfly.store.db.tables import clusters
from tests.store.helpers import (
    admit_all,
    claim_new,
    claim_one,
    create,
    create_due,
    make_ready,
    move,
    provision,
    set_back,
    several_stores,
)
from tests.support.shell import REPO
from tests.support.specs import make_spec

ONE = demand(make_spec())
PROCESSES = 3
WAITING = 30
ROOM_FOR = 7
LIMIT_SECONDS = 120.0
GIB = 1 << 30
ADMITTER = "tests.store.admitter"


async def test_a_queued_cluster_is_not_due(store: Store) -> None:
    made = await create(store)
    assert (made.phase, made.admitted_at, made.reserved) == (Phase.PENDING, None, False)
    assert await store.leases.claim("worker", lease_seconds=60, limit=1) == ()
    assert await store.leases.seconds_until_due() is None


async def test_the_queue_is_in_the_order_of_arrival(store: Store) -> None:
    made = [await create(store, owner=owner) for owner in ("a", "b", "a", "c")]
    made.sort(key=lambda cluster: (cluster.created_at, cluster.id))
    queue = await store.admission.queue()
    assert queue.waiting == tuple(Waiting(cluster.id, cluster.owner, ONE) for cluster in made)
    assert queue.held == {}


async def test_who_is_admitted_has_a_share_and_is_due(store: Store) -> None:
    first, second = await create(store, owner="a"), await create(store, owner="b")
    await set_back(store, first.id, clusters.c.created_at, 90)
    assert await store.admission.admit(lambda queue: queue.waiting[:1]) == (first.id,)
    admitted = await store.clusters.get(first.id)
    assert admitted.reserved
    assert admitted.admitted_at is not None
    queue = await store.admission.queue()
    assert [waiting.id for waiting in queue.waiting] == [second.id]
    assert queue.held == {"a": ONE}
    [occupant] = await store.admission.occupants()
    assert (occupant.needs, occupant.admitted_at, occupant.expires_at) == (ONE, admitted.admitted_at, None)
    [event] = await store.clusters.events(first.id)
    assert event.type == "cluster.admitted"
    assert event.seconds == pytest.approx(90, abs=10)
    assert (await claim_one(store)).cluster == replace(admitted, fence=admitted.fence + 1)


async def test_who_was_taken_back_or_expired_waits_no_more(store: Store) -> None:
    deleted, expired, held = [await create(store, hold=None, heartbeat_interval_seconds=60) for _ in range(3)]
    await store.lifecycle.delete(deleted.id)
    for cluster in (expired, held):
        await set_back(store, cluster.id, clusters.c.expires_at)
    await set_back(store, held.id, clusters.c.hold_until, -3600)
    assert [waiting.id for waiting in (await store.admission.queue()).waiting] == [held.id]


async def test_who_is_taken_back_while_the_decision_is_made_is_not_admitted(store: Store) -> None:
    made = await create(store)
    chosen = (await store.admission.queue()).waiting
    await create(store)
    await store.lifecycle.delete(made.id)
    assert await store.admission.admit(lambda _: chosen) == ()
    cluster = await store.clusters.get(made.id)
    assert (cluster.desired, cluster.reserved) == (Desired.ABSENT, False)


async def test_no_cluster_is_admitted_twice(store: Store) -> None:
    made = await create(store)
    chosen = (await store.admission.queue()).waiting
    await create(store)
    assert await store.admission.admit(lambda _: chosen) == (made.id,)
    assert await store.admission.admit(lambda _: chosen) == ()


async def test_a_share_is_kept_until_it_is_freed(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.FAILED)
    assert (await store.admission.queue()).in_use == ONE
    await store.status.free(claim)
    assert (await store.admission.queue()).in_use == Resources()
    assert not (await store.clusters.get(claim.cluster.id)).reserved


async def test_a_deleted_cluster_has_no_share(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.DELETING)
    assert (await store.admission.queue()).in_use == ONE
    await move(store, claim, Phase.DELETED)
    assert (await store.admission.queue()).in_use == Resources()
    assert await store.admission.occupants() == ()


async def test_the_past_tells_what_is_typical(store: Store) -> None:
    assert await store.admission.duration_stats() == DurationStats(None, None)
    for seconds in (100, 300, 900):
        await create_due(store)
        claim = await claim_one(store)
        await set_back(store, claim.cluster.id, clusters.c.admitted_at, seconds)
        await move(store, claim, Phase.PROVISIONING, Phase.READY)
        await set_back(store, claim.cluster.id, clusters.c.admitted_at, 2 * seconds)
        await set_back(store, claim.cluster.id, clusters.c.ready_at, seconds)
        await move(store, claim, Phase.DELETING, Phase.DELETED)
    past = await store.admission.duration_stats()
    assert past.provisioning_seconds == pytest.approx(300, abs=10)
    assert past.life_seconds == pytest.approx(600, abs=10)


async def test_an_occupant_says_when_it_ends(store: Store) -> None:
    claim = await claim_new(store, ttl_seconds=600)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    [occupant] = await store.admission.occupants()
    cluster = await store.clusters.get(claim.cluster.id)
    assert cluster.ready_at is not None
    assert occupant.expires_at == cluster.expires_at == cluster.ready_at + timedelta(seconds=600)


async def test_more_than_a_statement_takes_at_once(store: Store) -> None:
    made = {(await create(store)).id for _ in range(5)}
    strangers = tuple(Waiting(f"{i:012d}", "a", ONE) for i in range(2500))
    queue = await store.admission.queue()
    assert set(await store.admission.admit(lambda _: (*strangers, *queue.waiting))) == made


async def _admitter(url: str) -> list[str]:
    """The ids that one process admitted until the queue was empty or the host full."""
    command = [sys.executable, "-m", ADMITTER, url, str(ROOM_FOR)]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=REPO, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode().split()


async def test_processes_that_admit_at_once_never_give_more_than_there_is(server_store: Store, server_url: str) -> None:
    store = server_store
    made = {(await create(store, owner=f"owner-{i % 3}")).id for i in range(WAITING)}
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        runs = [group.create_task(_admitter(server_url)) for _ in range(PROCESSES)]
    admitted = [cluster_id for run in runs for cluster_id in run.result()]
    assert len(admitted) == len(set(admitted)) == ROOM_FOR
    assert set(admitted) <= made
    queue = await store.admission.queue()
    assert len(queue.waiting) == WAITING - ROOM_FOR
    assert queue.in_use == sum([ONE] * ROOM_FOR, Resources())
    assert sorted(held.vcpus // ONE.vcpus for held in queue.held.values()) == [2, 2, 3], "fair between owners"


async def test_stores_that_admit_at_once_see_what_the_others_decided(url: str) -> None:
    offered = sum([ONE] * ROOM_FOR, Resources())

    def decide(queue: Queue) -> tuple[Waiting, ...]:
        return admissible(queue, offered)[:1]

    async with several_stores(url, 4) as stores:
        for _ in range(WAITING):
            await create(stores[0])
        rounds = await asyncio.gather(*(store.admission.admit(decide) for store in stores for _ in range(ROOM_FOR)))
        admitted = [cluster_id for found in rounds for cluster_id in found]
        assert len(admitted) == len(set(admitted)) == ROOM_FOR
        assert (await stores[0].admission.queue()).in_use == offered


async def test_an_empty_decision_changes_nothing(store: Store) -> None:
    made = await create(store)
    assert await store.admission.admit(lambda _: ()) == ()
    assert await store.clusters.get(made.id) == made
    assert await admit_all(store) == (made.id,)
    assert await admit_all(store) == ()


async def test_what_is_saved_takes_room_on_the_disk(store: Store) -> None:
    async def saved() -> Resources:
        queue = await store.admission.queue()
        return queue.in_use - sum(queue.held.values(), Resources())

    cluster = await make_ready(store, "demo")
    await store.checkpoints.create(cluster.id, "one")
    assert await saved() == Resources()
    mine = await claim_one(store)
    await store.checkpoints.made(mine, "one", 2 * GIB - 1)
    assert await saved() == Resources(disk_gib=2)
    template, _ = await store.templates.create(make_spec(), "default", "key")
    await admit_all(store)
    claim = await claim_one(store)
    await provision(store, claim)
    await move(store, claim, Phase.READY)
    await store.template_builds.saved(claim, 5 * GIB + 1)
    assert await saved() == Resources(disk_gib=7)
    with store.watch_queue() as watch:
        await store.checkpoints.gone(mine, "one")
        assert await watch.wait(5)
    assert await saved() == Resources(disk_gib=6)
    await store.templates.retire(template.id)
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    assert await saved() == Resources(disk_gib=6), "the volume is there as long as its trial"
    await admit_all(store)
    await move(store, await claim_one(store), Phase.DELETING, Phase.DELETED)
    with store.watch_queue() as watch:
        assert await store.templates.close() == (template.id,)
        assert await watch.wait(5)
    assert await saved() == Resources()


async def test_no_cluster_is_admitted_to_a_disk_full_of_templates(store: Store) -> None:
    await create(store)
    room = Resources(100, 10**6, ONE.disk_gib)
    queue = await store.admission.queue()
    assert len(admissible(queue, room)) == 1
    assert admissible(replace(queue, saved_gib=1), room) == ()
