"""Lifecycle requests: when they are accepted, and which workers are notified."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.scheduling.resources import demand, hibernated_demand
from dayfly.errors import Conflict, NotFound, NotReady
from dayfly.store import Change, Store
from tests.store.helpers import (
    admit_all,
    claim_new,
    claim_one,
    create,
    make_members,
    make_ready,
    make_template,
    move,
    provision,
)
from tests.store.test_pools import POOL
from tests.support.specs import make_spec

ONE = demand(make_spec())
ASLEEP = hibernated_demand(make_spec())


async def test_a_requested_reset_is_due_at_once(store: Store) -> None:
    ready = await make_ready(store)
    assert await store.leases.seconds_until_due() is None
    requested = await store.lifecycle.reset(ready.name, IMAGE)
    assert (requested.reset_to, requested.phase, requested.generation) == (IMAGE, Phase.READY, 1)
    assert await store.lifecycle.reset(ready.id, IMAGE) == requested
    assert (await claim_one(store)).cluster == replace(requested, fence=requested.fence + 1)


async def test_a_reset_is_fulfilled_in_place(store: Store) -> None:
    ready = await make_ready(store)
    await store.lifecycle.reset(ready.id, IMAGE)
    claim = await claim_one(store)
    resetting = await store.provisioning.begin(claim, IMAGE, reset=True)
    assert (resetting.phase, resetting.boot_source, resetting.reset_to) == (Phase.PROVISIONING, IMAGE, None)
    assert (resetting.id, resetting.name, resetting.generation) == (ready.id, ready.name, 2)
    assert not resetting.keeps_disks
    with pytest.raises(NotReady):
        await store.lifecycle.reset(ready.id, IMAGE)
    again = await store.status.set_phase(claim, Phase.READY)
    assert (again.boot_source, again.generation, again.ready_at) == (None, 2, ready.ready_at)
    await store.leases.release(claim, due_in_seconds=None)
    assert await store.leases.seconds_until_due() is None


@pytest.mark.parametrize("due_in_seconds", [None, 3600])
async def test_a_reset_requested_under_a_claim_is_due_at_its_release(
    store: Store, due_in_seconds: float | None
) -> None:
    ready = await make_ready(store)
    await store.maintenance.requeue([ready.id])
    claim = await claim_one(store)
    await store.lifecycle.reset(ready.id, IMAGE)
    await store.leases.release(claim, due_in_seconds=due_in_seconds)
    assert (await claim_one(store)).cluster.reset_to == IMAGE


async def test_a_pass_that_can_do_nothing_is_not_followed_by_another_at_once(store: Store) -> None:
    ready = await make_ready(store)
    await store.lifecycle.reset(ready.id, IMAGE)
    await store.leases.release(await claim_one(store), due_in_seconds=None)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 0 < seconds <= 1


async def test_only_what_is_ready_can_be_reset_or_hibernated(store: Store) -> None:
    waiting = await create(store)
    requests: list[Callable[[], Awaitable[object]]] = [
        lambda: store.lifecycle.reset(waiting.id, IMAGE),
        lambda: store.lifecycle.hibernate(waiting.id),
    ]
    for request in requests:
        with pytest.raises(NotReady):
            await request()
    await store.lifecycle.delete(waiting.id)
    for request in [*requests, lambda: store.lifecycle.resume(waiting.id)]:
        with pytest.raises(Conflict):
            await request()
    with pytest.raises(NotFound):
        await store.lifecycle.reset("nobody", IMAGE)


async def test_one_request_at_a_time(store: Store) -> None:
    ready = await make_ready(store)
    await store.checkpoints.create(ready.id, "one")
    claim = await claim_one(store)
    await store.checkpoints.made(claim, "one", 1)
    await store.lifecycle.reset(ready.id, IMAGE)
    with pytest.raises(Conflict, match="being reset"):
        await store.lifecycle.hibernate(ready.id)
    with pytest.raises(Conflict, match="being reset"):
        await store.lifecycle.reset(ready.id, BootSource("checkpoint", "one"))
    await store.provisioning.begin(claim, IMAGE, reset=True)
    await move(store, claim, Phase.READY)
    await store.lifecycle.hibernate(ready.id)
    with pytest.raises(Conflict, match="hibernated"):
        await store.lifecycle.reset(ready.id, IMAGE)


@pytest.mark.parametrize("purpose", [Purpose.TEMPLATE, Purpose.VERIFICATION, Purpose.POOL_MEMBER])
async def test_clusters_of_templates_and_pools_accept_no_requests(store: Store, purpose: Purpose) -> None:
    found = await make_own(store, purpose)
    requests: list[Callable[[], Awaitable[object]]] = [
        lambda: store.updates.change(found.name, Change(labels={"a": "b"})),
        lambda: store.updates.change(found.id, Change(ttl_seconds=1)),
        lambda: store.updates.heartbeat(found.id),
        lambda: store.lifecycle.reset(found.id, IMAGE),
        lambda: store.lifecycle.hibernate(found.id),
        lambda: store.lifecycle.resume(found.id),
        lambda: store.checkpoints.create(found.id, "one"),
        lambda: store.checkpoints.delete(found.id, "one"),
    ]
    for request in requests:
        with pytest.raises(Conflict, match="cannot be modified"):
            await request()
    assert await store.clusters.get(found.id) == found
    assert (await store.lifecycle.delete(found.id)).desired is Desired.ABSENT


async def make_own(store: Store, purpose: Purpose) -> Cluster:
    """A cluster that is for this purpose."""
    if purpose is Purpose.POOL_MEMBER:
        [found] = await make_members(store, await store.pools.create(POOL), 1)
        return found
    await store.templates.create(make_spec(), "default", "key")
    if purpose is Purpose.VERIFICATION:
        await admit_all(store)
        claim = await claim_one(store)
        await provision(store, claim)
        await move(store, claim, Phase.READY)
        await store.template_builds.saved(claim, 1)
    [found] = (await store.clusters.list(purposes=[purpose])).clusters
    return found


async def test_what_failed_does_not_hibernate_though_it_was_to(store: Store) -> None:
    ready = await make_ready(store)
    await store.lifecycle.hibernate(ready.id)
    await move(store, await claim_one(store), Phase.FAILED)
    with pytest.raises(NotReady):
        await store.lifecycle.hibernate(ready.id)


async def test_who_hibernates_gives_back_what_it_does_not_use(store: Store) -> None:
    ready = await make_ready(store)
    requested = await store.lifecycle.hibernate(ready.name)
    assert requested.desired is Desired.HIBERNATED
    assert await store.lifecycle.hibernate(ready.name) == requested
    claim = await claim_one(store)
    with store.watch_queue() as watch:
        asleep = await store.status.set_phase(claim, Phase.HIBERNATED)
        assert await watch.wait(5)
    assert asleep.reserved
    assert (await store.admission.queue()).in_use == ASLEEP
    [occupant] = await store.admission.occupants()
    assert occupant.needs == ASLEEP
    [known] = await store.maintenance.known()
    assert (known.containers, known.begun) == (0, True)
    await store.leases.release(claim, due_in_seconds=None)
    assert await store.leases.seconds_until_due() is None


async def test_who_is_woken_up_waits_for_room_like_any_other(store: Store) -> None:
    ready = await make_ready(store)
    await store.lifecycle.hibernate(ready.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.HIBERNATED)
    await store.leases.release(claim, due_in_seconds=None)
    requested = await store.lifecycle.resume(ready.id)
    assert await store.lifecycle.resume(ready.id) == requested
    claim = await claim_one(store)
    pending = await store.status.set_phase(claim, Phase.PENDING)
    assert (pending.reserved, pending.admitted_at, pending.desired) == (False, None, Desired.PRESENT)
    await store.leases.release(claim, due_in_seconds=None)
    queue = await store.admission.queue()
    [waiting] = queue.waiting
    assert (waiting.id, waiting.needs, waiting.background) == (ready.id, replace(ONE, disk_gib=0), False)
    assert queue.in_use == ASLEEP, "its containers are there, their disks, and what was saved"
    [known] = await store.maintenance.known()
    assert (known.reserved, known.begun) == (False, True)
    assert await admit_all(store) == (ready.id,)
    assert (await store.admission.queue()).in_use == replace(ONE, disk_gib=ASLEEP.disk_gib)
    waking = await store.provisioning.begin(await claim_one(store), HIBERNATION)
    assert (await store.admission.queue()).in_use == ONE
    assert waking.keeps_disks
    assert waking.reserved


async def test_a_resume_under_the_claim_that_hibernates_is_seen_when_it_ends(store: Store) -> None:
    ready = await make_ready(store)
    await store.lifecycle.hibernate(ready.id)
    claim = await claim_one(store)
    await store.lifecycle.resume(ready.id)
    await move(store, claim, Phase.HIBERNATED)
    await store.leases.release(claim, due_in_seconds=None)
    assert (await claim_one(store)).cluster.desired is Desired.PRESENT


async def test_a_request_notifies_the_holder_of_the_claim(store: Store) -> None:
    ready = await make_ready(store)
    with store.watch_requests(ready.id) as watch:
        await store.lifecycle.hibernate(ready.id)
        assert await watch.wait(5)
        await store.lifecycle.resume(ready.id)
        assert await watch.wait(5)


async def test_nothing_of_what_failed_can_be_resumed(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.FAILED)
    with pytest.raises(Conflict, match="failed"):
        await store.lifecycle.resume(claim.cluster.id)


async def test_the_past_does_not_count_who_was_woken_up(store: Store) -> None:
    ready = await make_ready(store)
    before = await store.admission.duration_stats()
    await store.lifecycle.hibernate(ready.id)
    claim = await claim_one(store)
    await move(store, claim, Phase.HIBERNATED, Phase.PENDING)
    await store.lifecycle.resume(ready.id)
    await admit_all(store)
    await store.provisioning.begin(claim, HIBERNATION)
    await move(store, claim, Phase.READY)
    after = await store.admission.duration_stats()
    assert before.provisioning_seconds is not None
    assert after.provisioning_seconds is None, "its first readiness was before it was admitted the last time"


async def test_what_is_made_for_later_is_no_past(store: Store) -> None:
    await make_template(store)
    past = await store.admission.duration_stats()
    assert (past.provisioning_seconds, past.life_seconds) == (None, None)
