"""Notifications of commits: no polling, and no lost wake-up."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import NewEvent, StepReport, StepState
from dayfly.errors import NameTaken
from dayfly.store import Change, Store
from tests.store.helpers import admit_all, claim_new, claim_one, create, create_due, move
from tests.support.databases import KEYS

SOON = 10.0
"""Seconds: an upper bound, which no passing test comes near."""
QUIET = 0.05
"""Seconds without a wake-up that count as none."""


async def test_a_commit_between_look_and_wait_counts(store: Store) -> None:
    with store.watch_queue() as watch:
        await create(store)
        assert await watch.wait(SOON)
        assert not await watch.wait(QUIET)


async def test_a_waiter_is_woken(store: Store) -> None:
    made = await create(store)
    with store.watch(made.id) as watch:
        waiter = asyncio.ensure_future(watch.wait(SOON))
        await asyncio.sleep(0)
        await store.lifecycle.delete(made.id)
        assert await waiter


async def test_a_watch_is_not_woken_for_another_cluster(store: Store) -> None:
    claim = await claim_new(store)
    other = await create(store)
    with store.watch(claim.cluster.id) as mine, store.watch(other.id) as others:
        await store.status.append_event(claim, NewEvent("step.done", "done"))
        assert await mine.wait(SOON)
        assert not await others.wait(QUIET)


async def test_every_change_that_callers_see_wakes(store: Store) -> None:
    claim = await claim_new(store)
    with store.watch(claim.cluster.id) as watch:
        await store.status.set_phase(claim, Phase.PROVISIONING)
        assert await watch.wait(SOON)
        await store.status.set_endpoints(claim, {})
        assert await watch.wait(SOON)
        await store.lifecycle.delete(claim.cluster.id)
        assert await watch.wait(SOON)
        await store.leases.release(claim, due_in_seconds=0)
        assert await watch.wait(SOON)


async def test_what_makes_a_cluster_due_wakes_workers(store: Store) -> None:
    with store.watch_work() as work:
        made = await create(store)
        assert not await work.wait(QUIET), "it waits to be admitted"
        await admit_all(store)
        assert await work.wait(SOON)
        claim = await claim_one(store)
        await store.leases.release(claim, due_in_seconds=0)
        assert await work.wait(SOON)
        claim = await claim_one(store)
        await store.maintenance.requeue([made.id])
        assert await work.wait(SOON)
        await store.lifecycle.delete(made.id)
        assert await work.wait(SOON)


async def test_what_makes_nothing_due_wakes_no_worker(store: Store) -> None:
    claim = await claim_new(store)
    with store.watch_work() as work, store.watch_queue() as queue:
        await store.status.set_phase(claim, Phase.PROVISIONING)
        await store.status.record(claim, [StepReport("boot", None, StepState.DONE, 1, claim.cluster.created_at)])
        await store.status.append_event(claim, NewEvent("step.done", "done"))
        await store.status.set_endpoints(claim, {})
        await store.status.save_evidence(claim, {"console": "text"})
        await store.status.count_restart(claim, 1)
        await store.status.set_phase(claim, Phase.READY)
        await store.leases.release(claim, due_in_seconds=None)
        await store.updates.change(claim.cluster.id, Change(labels={"a": "b"}))
        assert not await work.wait(QUIET)
        assert not await queue.wait(QUIET)


async def test_a_pause_that_a_worker_asks_for_is_planned_by_its_own_process_only(server_url: str) -> None:
    here, there = await Store.open(server_url, KEYS), await Store.open(server_url, KEYS)
    try:
        with here.watch_work() as ours, there.watch_work() as theirs:
            claim = await claim_new(here)
            for watch in (ours, theirs):
                # The other process hears of the creation when PostgreSQL tells it, which may be late.
                while await watch.wait(QUIET):
                    pass
            await here.leases.release(claim, due_in_seconds=30)
            assert await ours.wait(SOON)
            assert not await theirs.wait(QUIET)
    finally:
        await here.close()
        await there.close()


async def test_what_changes_the_queue_or_the_room_wakes_admission(store: Store) -> None:
    with store.watch_queue() as queue:
        made = await create(store)
        assert await queue.wait(SOON)
        await store.lifecycle.delete(made.id)
        assert await queue.wait(SOON), "one less waits"
        await move(store, await claim_one(store), Phase.DELETING, Phase.DELETED)
        assert await queue.wait(SOON)
        claim = await claim_new(store)
        assert await queue.wait(SOON)
        await move(store, claim, Phase.PROVISIONING, Phase.FAILED)
        assert not await queue.wait(QUIET), "what it held may still be there"
        await store.status.free(claim)
        assert await queue.wait(SOON)
        await store.status.free(claim)
        assert not await queue.wait(QUIET), "nothing was held any more"


async def test_a_claim_wakes_no_watch(store: Store) -> None:
    made = await create_due(store)
    with store.watch(made.id) as watch, store.watch_work() as work, store.watch_queue() as queue:
        [claim] = await store.leases.claim("worker", lease_seconds=60, limit=1)
        await store.leases.renew(claim, lease_seconds=60)
        for quiet in (watch, work, queue):
            assert not await quiet.wait(QUIET)


async def test_a_watch_ends_with_its_block(store: Store) -> None:
    with store.watch_queue() as watch:
        pass
    await create(store)
    assert not await watch.wait(QUIET)


async def test_other_processes_are_heard(server_url: str) -> None:
    here, there = await Store.open(server_url, KEYS), await Store.open(server_url, KEYS)
    try:
        with here.watch_queue() as watch:
            made = await create(there, "demo")
            assert await watch.wait(SOON)
        with here.watch(made.id) as watch, here.watch("0123456789ab") as another:
            with pytest.raises(NameTaken):
                await create(there, "demo")
            assert not await watch.wait(QUIET)
            await there.lifecycle.delete(made.id)
            assert await watch.wait(SOON)
            assert not await another.wait(QUIET)
    finally:
        await here.close()
        await there.close()


async def test_a_broken_listener_tells_everybody_to_look_and_comes_back(postgres_url: str) -> None:
    here, there = await Store.open(postgres_url, KEYS), await Store.open(postgres_url, KEYS)
    terminate = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'dayfly-listen' AND datname = current_database()"
    )
    try:
        with here.watch("0123456789ab") as watch:
            async with there._database.write() as transaction:
                assert len((await transaction.connection.execute(terminate)).all()) == 2
            assert await watch.wait(SOON), "told that the line is gone"
            assert await watch.wait(SOON), "told to look for what happened meanwhile"
            assert not await watch.wait(QUIET)
        with here.watch_queue() as watch:
            await create(there)
            assert await watch.wait(SOON), "heard again"
    finally:
        await here.close()
        await there.close()
