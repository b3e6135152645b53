"""Bakes as callers request them, and as builders claim, report and end them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from dayfly.domain.bake import LINE, Bake, BakedImage, BakeOrder, NewBakeEvent
from dayfly.domain.cluster.model import Fault
from dayfly.domain.scheduling.fair_queue import Waiting
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import BakeQueueFull, InvalidRequest, LeaseLost, NotFound
from dayfly.store import BakeClaim, CarriedOut, IdempotencyKey, Store, bakes
from dayfly.store.db import bake_rows
from dayfly.store.db.tables import bake_events
from dayfly.store.db.tables import bakes as table
from dayfly.vocabulary import BakePhase
from tests.store.helpers import several_stores

BARE = BakeOrder("bare")
IMAGE = BakedImage("dayfly/bare:0123456789ab", "sha256:1")


async def claim(store: Store, host: str = "one", *, per_host: int = 1, seconds: float = 60) -> BakeClaim | None:
    return await store.bake_leases.claim(f"builder of {host}", host, lease_seconds=seconds, per_host=per_host)


async def claimed(store: Store, host: str = "one", **more: Any) -> BakeClaim:
    found = await claim(store, host, **more)
    assert found is not None
    return found


async def set_times(store: Store, bake: Bake, **seconds: float) -> None:
    """Set columns to so many seconds from now."""
    async with store._database.write() as transaction:
        values = {name: transaction.now + timedelta(seconds=given) for name, given in seconds.items()}
        await transaction.execute(update(table).where(table.c.id == bake.id).values(values))


async def types(store: Store, bake: Bake) -> list[str]:
    return [event.type for event in await store.bakes.events(bake.id)]


async def test_a_bake_from_its_request_to_its_end(store: Store) -> None:
    order = BakeOrder("bare", {"count": 3, "flag": True, "names": ["a"], "text": "3"})
    made = await store.bakes.create(order, "me")
    assert (made.phase, made.owner, made.order, made.attempts) == (BakePhase.QUEUED, "me", order, 0)
    assert await store.bakes.get(made.id) == made
    held = await claimed(store)
    assert (held.bake.id, held.bake.phase, held.bake.attempts) == (made.id, BakePhase.RUNNING, 1)
    assert held.bake.started_at is not None
    assert await claim(store, "two") is None
    await store.bake_leases.record(held, [NewBakeEvent("step.done", "x", "base", 1.5)])
    ended = await store.bake_leases.end(held, BakePhase.SUCCEEDED, [NewBakeEvent(LINE, "y")], image=IMAGE)
    assert (ended.phase, ended.image, ended.fault) == (BakePhase.SUCCEEDED, IMAGE, None)
    assert ended.ended_at is not None
    assert await store.bakes.get(made.id) == ended
    events = await store.bakes.events(made.id)
    assert [event.type for event in events] == ["queued", "started", "step.done", "line", "succeeded"]
    assert (events[2].message, events[2].step, events[2].seconds) == ("x", "base", 1.5)
    assert await store.bakes.events(made.id, after=events[2].id, limit=1) == events[3:4]
    assert await claim(store) is None
    assert (await store.bake_leases.renew(held, lease_seconds=9)).phase is BakePhase.SUCCEEDED, "a late renewal"
    for write in (
        store.bake_leases.record(held, [NewBakeEvent(LINE)]),
        store.bake_leases.end(held, BakePhase.FAILED, []),
        store.bake_leases.give_back(held, [], due_in_seconds=0, counts=True),
    ):
        with pytest.raises(LeaseLost):
            await write


NEEDS = Resources(2, 2048, 10)


async def test_a_verification_is_in_admission_from_its_request_to_the_end(store: Store) -> None:
    made = await store.bakes.create(BARE, "me")
    held = await claimed(store)
    with store.watch_queue() as queue, store.watch(made.id) as watch:
        await store.bake_leases.ask_for_room(held, NEEDS)
        assert await queue.wait(5)
        await watch.wait(5)
        asked = (await store.admission.queue()).waiting
        assert asked == (Waiting(made.id, "me", NEEDS, bake=True),)
        assert await store.admission.admit(lambda found: found.waiting) == (made.id,)
        assert await watch.wait(5)
    assert await store.admission.admit(lambda _: asked) == (), "once"
    assert (await store.bakes.get(made.id)).reserved
    for seen in (await store.admission.queue(), await store.admission.held()):
        assert (seen.waiting, seen.held) == ((), {"me": NEEDS})
    await store.bake_leases.ask_for_room(held, Resources(9, 9, 9))
    assert (await store.admission.held()).held == {"me": NEEDS}, "it may be repeated"
    assert (await types(store, made))[-1] == "admitted"
    with store.watch_queue() as queue:
        await store.bake_leases.end(held, BakePhase.SUCCEEDED, [], image=IMAGE)
        assert await queue.wait(5)
    assert (await store.admission.held()).held == {}
    with pytest.raises(LeaseLost):
        await store.bake_leases.ask_for_room(held, NEEDS)


async def test_a_verification_of_a_cancelled_bake_is_not_admitted(store: Store) -> None:
    made = await store.bakes.create(BARE, "me")
    held = await claimed(store)
    await store.bake_leases.ask_for_room(held, NEEDS)
    asked = (await store.admission.queue()).waiting
    await store.bakes.cancel(made.id)
    assert (await store.admission.queue()).waiting == ()
    assert await store.admission.admit(lambda _: asked) == ()


async def test_the_conformance_list_of_an_order_is_kept(store: Store) -> None:
    for conformance in (None, (), ("a", "b")):
        order = BakeOrder("bare", conformance=conformance)
        made = await store.bakes.create(order, "me")
        assert (await store.bakes.get(made.id)).order == order


async def test_a_failure_is_kept_with_its_evidence_bounded_and_storable(store: Store) -> None:
    await store.bakes.create(BARE, "me")
    held = await claimed(store)
    long = "x" * (bake_rows.EVIDENCE_BYTES + 1) + "the reason"
    fault = Fault("bake_failed", "it\nbroke\0", evidence={"output": long, "nul\0": "\0\ud800"})
    await store.bake_leases.end(held, BakePhase.FAILED, [], fault=fault)
    found = (await store.bakes.get(held.bake.id)).fault
    assert found is not None
    assert (found.code, found.message) == ("bake_failed", "it broke\ufffd")
    assert found.evidence["output"].endswith("the reason")
    assert len(found.evidence["output"]) == bake_rows.EVIDENCE_BYTES
    assert found.evidence["nul\ufffd"] == "\ufffd\ufffd"
    last = (await store.bakes.events(held.bake.id))[-1]
    assert (last.type, last.code, last.message) == ("failed", "bake_failed", "it broke\ufffd")


async def test_bakes_wait_in_the_order_of_their_requests_and_a_host_has_a_limit(store: Store) -> None:
    first, second, third = [await store.bakes.create(BARE, "me") for _ in range(3)]
    for number, bake in enumerate((third, first, second)):
        await set_times(store, bake, created_at=number - 10)
    assert (await claimed(store)).bake.id == third.id
    assert await claim(store) is None, "one at a time on a host"
    assert (await claimed(store, per_host=2)).bake.id == first.id
    assert await claim(store, per_host=2) is None
    assert (await claimed(store, "two")).bake.id == second.id


async def test_builders_that_claim_at_once_get_one_bake_on_a_host(url: str) -> None:
    async with several_stores(url, 4) as stores:
        for _ in range(3):
            await stores[0].bakes.create(BARE, "me")
        found = await asyncio.gather(*(claim(store) for store in stores))
        assert len([one for one in found if one]) == 1


async def test_the_bake_of_a_dead_builder_is_taken_up_after_its_lease(store: Store) -> None:
    await store.bakes.create(BARE, "me")
    dead = await claimed(store)
    await set_times(store, dead.bake, lease_expires_at=-1)
    fresh = await claimed(store)
    assert (fresh.bake.id, fresh.bake.attempts, fresh.bake.started_at) == (dead.bake.id, 2, dead.bake.started_at)
    assert [event.message for event in await store.bakes.events(dead.bake.id)][1:] == ["", "after its builder ended"]
    for write in (
        store.bake_leases.renew(dead, lease_seconds=60),
        store.bake_leases.record(dead, [NewBakeEvent(LINE)]),
        store.bake_leases.end(dead, BakePhase.SUCCEEDED, [], image=IMAGE),
        store.bake_leases.give_back(dead, [], due_in_seconds=0, counts=True),
    ):
        with pytest.raises(LeaseLost):
            await write
    await store.bake_leases.renew(fresh, lease_seconds=60)


async def test_a_lease_from_before_the_clock_was_set_back_ends(store: Store) -> None:
    await store.bakes.create(BARE, "me")
    dead = await claimed(store)
    await set_times(store, dead.bake, lease_expires_at=86_400)
    assert (await claimed(store)).bake.id == dead.bake.id


@pytest.mark.parametrize("counts", [True, False])
async def test_a_bake_that_is_given_back_is_queued_again(store: Store, counts: bool) -> None:
    await store.bakes.create(BARE, "me")
    held = await claimed(store)
    await store.bake_leases.give_back(held, [NewBakeEvent("queued")], due_in_seconds=60, counts=counts)
    waiting = await store.bakes.get(held.bake.id)
    assert (waiting.phase, waiting.attempts) == (BakePhase.QUEUED, int(counts))
    assert await claim(store) is None, "it is not due yet"
    await set_times(store, waiting, due_at=0)
    assert (await claimed(store)).bake.attempts == 1 + counts


async def test_a_queued_bake_is_cancelled_at_once(store: Store) -> None:
    made = await store.bakes.create(BARE, "me")
    cancelled = await store.bakes.cancel(made.id)
    assert (cancelled.phase, cancelled.ended_at is not None) == (BakePhase.CANCELLED, True)
    assert await store.bakes.cancel(made.id) == cancelled
    assert await types(store, made) == ["queued", "cancelled"]
    assert await claim(store) is None
    with pytest.raises(NotFound):
        await store.bakes.cancel("0123456789ab")


async def test_a_running_bake_is_cancelled_by_its_builder(store: Store) -> None:
    await store.bakes.create(BARE, "me")
    held = await claimed(store)
    with store.watch_requests(held.bake.id) as watch:
        asked = await store.bakes.cancel(held.bake.id)
        assert await watch.wait(5)
    assert (asked.phase, asked.cancel_requested_at is not None) == (BakePhase.RUNNING, True)
    assert await store.bakes.cancel(held.bake.id) == asked
    assert (await store.bake_leases.renew(held, lease_seconds=60)).cancel_requested_at == asked.cancel_requested_at
    assert await types(store, asked) == ["queued", "started", "cancel_requested"]
    ended = await store.bake_leases.end(held, BakePhase.CANCELLED, [])
    assert await store.bakes.cancel(held.bake.id) == ended


async def test_a_bake_to_be_cancelled_whose_builder_died_is_claimed_for_that(store: Store) -> None:
    await store.bakes.create(BARE, "me")
    dead = await claimed(store)
    await store.bakes.cancel(dead.bake.id)
    await set_times(store, dead.bake, lease_expires_at=-1)
    fresh = await claimed(store)
    assert (fresh.bake.attempts, fresh.bake.cancel_requested_at is not None) == (1, True)


async def test_only_so_many_bakes_are_queued(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bakes, "MOST_UNENDED", 2)
    first = await store.bakes.create(BARE, "me")
    await store.bakes.create(BARE, "me")
    with pytest.raises(BakeQueueFull):
        await store.bakes.create(BARE, "me")
    await store.bakes.cancel(first.id)
    await store.bakes.create(BARE, "me")


async def test_lists_are_pages_newest_first(store: Store) -> None:
    made = [await store.bakes.create(BakeOrder(name), owner) for name, owner in (("a", "x"), ("b", "x"), ("a", "y"))]
    for number, bake in enumerate(made):
        await set_times(store, bake, created_at=number - 10)
    await store.bakes.cancel(made[0].id)
    ids = [bake.id for bake in made][::-1]
    page = await store.bakes.list(limit=2)
    assert [bake.id for bake in page.bakes] == ids[:2]
    last = await store.bakes.list(limit=2, cursor=page.next_cursor)
    assert ([bake.id for bake in last.bakes], last.next_cursor) == (ids[2:], None)
    for query, expected in (
        ({"phases": [BakePhase.CANCELLED]}, [0]),
        ({"phases": [BakePhase.CANCELLED, BakePhase.QUEUED]}, [2, 1, 0]),
        ({"recipe": "a"}, [2, 0]),
        ({"owner": "x"}, [1, 0]),
        ({"owner": "x", "recipe": "b"}, [1]),
        ({"owner": "z"}, []),
    ):
        found = await store.bakes.list(**query)
        assert [bake.id for bake in found.bakes] == [made[index].id for index in expected], query
    with pytest.raises(InvalidRequest, match="cursor"):
        await store.bakes.list(cursor="nonsense")


async def test_a_key_is_carried_out_once(url: str) -> None:
    key = IdempotencyKey("key", "fingerprint", "me")
    async with several_stores(url, 2) as stores:
        asked = (store.bakes.create(BARE, "me", key) for store in stores)
        first, second = sorted(await asyncio.gather(*asked, return_exceptions=True), key=lambda one: type(one).__name__)
        assert isinstance(first, Bake)
        assert isinstance(second, CarriedOut)
        assert second.use.resource_id == first.id
        assert len((await stores[0].bakes.list()).bakes) == 1


async def test_the_newest_lines_of_a_long_output_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bake_rows, "MOST_LINES", 5)
    await store.bakes.create(BARE, "me")
    held = await claimed(store)
    for part in range(4):
        lines = [NewBakeEvent(LINE, f"{part}.{line} \x1b[1m\n", "base") for line in range(3)]
        await store.bake_leases.record(held, [NewBakeEvent("step.running", step="base"), *lines])
    events = await store.bakes.events(held.bake.id)
    messages = [event.message for event in events if event.type == LINE]
    assert messages == [f"{name} \ufffd[1m " for name in ("2.1", "2.2", "3.0", "3.1", "3.2")]
    assert len([event for event in events if event.type == "step.running"]) == 4
    await store.bake_leases.record(held, [NewBakeEvent(LINE, "x" * 10_000, "s" * 100)])
    last = (await store.bakes.events(held.bake.id))[-1]
    assert (len(last.message), len(last.step or "")) == (2000, 64)


async def test_commits_wake_those_who_wait(store: Store) -> None:
    with store.watch_bakes() as work:
        made = await store.bakes.create(BARE, "me")
        assert await work.wait(5)
        with store.watch(made.id) as watch:
            held = await claimed(store)
            assert await watch.wait(5)
            await store.bake_leases.renew(held, lease_seconds=60)
            assert not await watch.wait(0.05), "a renewal shows nothing new"
            await store.bake_leases.record(held, [NewBakeEvent(LINE, "x")])
            assert await watch.wait(5)
            await store.bake_leases.end(held, BakePhase.CANCELLED, [])
            assert await watch.wait(5)
        assert await work.wait(5), "the host has a place again"


async def test_bakes_are_counted_and_old_ones_forgotten(store: Store) -> None:
    old = await store.bakes.create(BARE, "me", IdempotencyKey("key", "fingerprint", "me"))
    await set_times(store, old, created_at=-100)
    young = await store.bakes.create(BARE, "me")
    assert await store.bakes.oldest_queued_at() == (await store.bakes.get(old.id)).created_at
    for bake in (old, young):
        await store.bakes.cancel(bake.id)
    await store.bakes.create(BARE, "me")
    assert {phase.value: number for phase, number in (await store.bakes.count()).items() if number} == {
        "queued": 1,
        "cancelled": 2,
    }
    await set_times(store, old, ended_at=-1000)
    await store.maintenance.purge_deleted(500, limit=10)
    with pytest.raises(NotFound):
        await store.bakes.get(old.id)
    async with store._database.read() as connection:
        query = select(func.count()).select_from(bake_events).where(bake_events.c.bake_id == old.id)
        assert (await connection.execute(query)).scalar_one() == 0
    assert len((await store.bakes.list()).bakes) == 2
