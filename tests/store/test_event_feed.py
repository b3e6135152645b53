"""Events of all clusters: filters, and the order of ids under concurrent transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy import text

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.store import Change, ClusterEvent, EventFilter, Store
from dayfly.store.db.database import Database
from dayfly.store.notify.postgresql_listen import PostgresqlListener
from tests.store.helpers import claim_new, claim_one, create, make_ready, move, several_stores

PATIENCE_SECONDS = 30
WRITERS = 6
CHANGES = 12
ALL = EventFilter(purposes=frozenset())


async def read_all(store: Store, which: EventFilter = ALL, *, limit: int = 500) -> list[ClusterEvent]:
    found: list[ClusterEvent] = []
    after = 0
    while True:
        page = await store.event_feed.page(which, after=after, limit=limit)
        found += page.events
        after = page.until
        if page.is_last:
            return found


async def test_pages_follow_each_other(store: Store) -> None:
    assert await store.event_feed.newest() == 0
    empty = await store.event_feed.page(ALL)
    assert (empty.events, empty.until, empty.is_last) == ((), 0, True)
    cluster = await make_ready(store, "one")
    await make_ready(store, "two", labels={"team": "a"})
    whole = await read_all(store)
    assert [one.event.id for one in whole] == sorted({one.event.id for one in whole})
    assert [one.event for one in whole if one.cluster_id == cluster.id] == list(await store.clusters.events(cluster.id))
    for limit in (1, 2, len(whole)):
        assert await read_all(store, limit=limit) == whole
    newest = await store.event_feed.newest()
    assert newest == whole[-1].event.id
    after = await store.event_feed.page(ALL, after=newest + 7)
    assert (after.events, after.until, after.is_last) == ((), newest + 7, True)


async def test_filters(store: Store) -> None:
    first = await make_ready(store, "one", labels={"team": "a", "env": "ci"})
    await make_ready(store, "two", labels={"team": "a"})
    theirs = await create(store, "theirs", owner="them")
    await store.admission.admit(lambda queue: queue.waiting)
    await claim_one(store)

    async def names(**fields: Any) -> Collection[str]:
        return {one.cluster_name for one in await read_all(store, EventFilter(**fields))}

    assert await names() == {"one", "two", "theirs"}
    assert await names(owner="them") == {"theirs"}
    assert await names(labels={"team": "a"}) == {"one", "two"}
    assert await names(labels={"team": "a", "env": "ci"}) == {"one"}
    assert await names(clusters=frozenset({first.id, "theirs", "nothing"})) == {"one", "theirs"}
    assert await names(types=frozenset({"phase"})) == {"one", "two"}
    assert await names(purposes=frozenset({Purpose.POOL_MEMBER})) == set()
    (admitted,) = await read_all(store, EventFilter(clusters=frozenset({theirs.id})))
    assert (admitted.cluster_id, admitted.owner, admitted.event.type) == (theirs.id, "them", "cluster.admitted")
    nothing = await store.event_feed.page(EventFilter(owner="nobody"), limit=1)
    assert (nothing.events, nothing.until) == ((), await store.event_feed.newest()), (
        "the cursor passes what is filtered"
    )


async def test_a_name_finds_deleted_clusters_too(store: Store) -> None:
    claim = await claim_new(store, "one")
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    again = await create(store, "one")
    await store.admission.admit(lambda queue: queue.waiting)
    found = await read_all(store, EventFilter(clusters=frozenset({"one"})))
    assert {one.cluster_id for one in found} == {claim.cluster.id, again.id}


async def test_events_wake_the_watchers_of_all(store: Store) -> None:
    cluster = await make_ready(store)
    with store.watch_events() as watch:
        await store.lifecycle.delete(cluster.id)
        assert not await watch.wait(0.0), "a request without an event"
        other = await create(store)
        assert not await watch.wait(0.0), "a creation is no event yet"
        await store.admission.admit(lambda queue: queue.waiting)
        assert await watch.wait(PATIENCE_SECONDS)
        await store.updates.change(other.id, Change(labels={"a": "b"}))
        assert await watch.wait(PATIENCE_SECONDS)


async def test_no_reader_misses_an_event_of_a_slow_transaction(
    server_store: Store, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that stops between its events and its commit: events of later transactions wait for it."""
    slow, quick = await make_ready(server_store, "slow"), await make_ready(server_store, "quick")
    inserted, go_on = asyncio.Event(), asyncio.Event()
    notify = PostgresqlListener.notify

    async def stop_once(self: PostgresqlListener, connection: Any, topics: Collection[str]) -> None:
        if slow.id in topics:
            inserted.set()
            await go_on.wait()
        await notify(self, connection, topics)

    monkeypatch.setattr(PostgresqlListener, "notify", stop_once)
    after = await server_store.event_feed.newest()
    async with several_stores(server_url, 1) as (other,), asyncio.timeout(PATIENCE_SECONDS):
        first = asyncio.create_task(server_store.updates.change(slow.id, Change(labels={"a": "b"})))
        await inserted.wait()
        second = asyncio.create_task(other.updates.change(quick.id, Change(labels={"a": "b"})))
        while not second.done() and not await _waits_for_a_lock(other._database):
            assert not first.done()
        page = await other.event_feed.page(ALL, after=after)
        go_on.set()
        await asyncio.gather(first, second)
        rest = await other.event_feed.page(ALL, after=page.until)
    assert [one.cluster_name for one in (*page.events, *rest.events)] == ["slow", "quick"]


async def _waits_for_a_lock(database: Database) -> bool:
    async with database.read() as connection:
        query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool((await connection.execute(query)).scalar_one())


async def test_a_reader_beside_many_writers_sees_every_event_once_and_in_order(url: str) -> None:
    async with several_stores(url, 3) as stores, asyncio.timeout(4 * PATIENCE_SECONDS):
        made = [await make_ready(stores[0], f"c{number}") for number in range(WRITERS)]
        start = await stores[0].event_feed.newest()
        seen: list[ClusterEvent] = []

        async def write(number: int) -> None:
            store = stores[number % len(stores)]
            for change in range(CHANGES):
                await store.updates.change(made[number].id, Change(labels={"change": str(change)}))

        async def follow() -> None:
            after = start
            with stores[0].watch_events() as watch:
                while len(seen) < WRITERS * CHANGES:
                    page = await stores[0].event_feed.page(ALL, after=after, limit=5)
                    seen.extend(page.events)
                    after = page.until
                    if page.is_last:
                        await watch.wait(PATIENCE_SECONDS)

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for number in range(WRITERS):
                group.create_task(write(number))
        written = [one for one in await read_all(stores[0]) if one.event.id > start]
    assert seen == written
    assert len(seen) == WRITERS * CHANGES


async def test_what_is_rolled_back_is_no_event(store: Store) -> None:
    cluster = await make_ready(store)
    before = await read_all(store)

    def refuse(_: object) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await store.updates.change(cluster.id, Change(labels={"a": "b"}), refuse)
    assert await read_all(store) == before
