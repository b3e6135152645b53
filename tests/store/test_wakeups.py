"""Who is told of a commit: nobody polls, and no wake-up is lost."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from dayfly.domain.cluster import NewEvent
from dayfly.domain.lifecycle import Phase
from dayfly.errors import NameTaken
from dayfly.store import Store
from tests.store.helpers import claim_new, create

SOON = 10.0
"""Seconds: an upper bound, which no passing test comes near."""
QUIET = 0.05
"""Seconds without a wake-up that count as none."""


async def test_a_commit_between_look_and_wait_counts(store: Store) -> None:
    with store.watch() as watch:
        await create(store)
        assert await watch.wait(SOON)
        assert not await watch.wait(QUIET)


async def test_a_waiter_is_woken(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(store.changed(None, timeout=SOON))
        await asyncio.sleep(0)
        await create(store)
    assert waiter.result()


async def test_who_watches_one_cluster_is_not_told_of_another(store: Store) -> None:
    claim = await claim_new(store)
    other = await create(store)
    with store.watch(claim.cluster.id) as mine, store.watch(other.id) as others:
        await store.append_event(claim, NewEvent("step.done", "done"))
        assert await mine.wait(SOON)
        assert not await others.wait(QUIET)


async def test_every_change_that_callers_see_wakes(store: Store) -> None:
    claim = await claim_new(store)
    with store.watch(claim.cluster.id) as watch:
        await store.set_phase(claim, Phase.PROVISIONING)
        assert await watch.wait(SOON)
        await store.set_endpoints(claim, {})
        assert await watch.wait(SOON)
        await store.request_deletion(claim.cluster.id)
        assert await watch.wait(SOON)
        await store.release(claim, due_in_seconds=0)
        assert await watch.wait(SOON)


async def test_looking_for_work_wakes_nobody(store: Store) -> None:
    await create(store)
    with store.watch() as watch:
        [claim] = await store.claim("worker", lease_seconds=60, limit=1)
        await store.renew(claim, lease_seconds=60)
        assert not await watch.wait(QUIET)


async def test_a_watch_ends_with_its_block(store: Store) -> None:
    with store.watch() as watch:
        pass
    await create(store)
    assert not await watch.wait(QUIET)


async def test_other_processes_are_heard_on_postgresql(postgres_url: str) -> None:
    here, there = await Store.open(postgres_url), await Store.open(postgres_url)
    try:
        with here.watch() as watch:
            made = await create(there, "demo")
            assert await watch.wait(SOON)
        with here.watch(made.id) as watch, here.watch("0123456789ab") as another:
            with pytest.raises(NameTaken):
                await create(there, "demo")
            assert not await watch.wait(QUIET)
            await there.request_deletion(made.id)
            assert await watch.wait(SOON)
            assert not await another.wait(QUIET)
    finally:
        await here.close()
        await there.close()


async def test_a_broken_listener_tells_everybody_to_look_and_comes_back(postgres_url: str) -> None:
    here, there = await Store.open(postgres_url), await Store.open(postgres_url)
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
        with here.watch() as watch:
            await create(there)
            assert await watch.wait(SOON), "heard again"
    finally:
        await here.close()
        await there.close()
