"""Requests concurrent with other transactions: none holds or misses a pool member because of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest
from sqlalchemy import select, text

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.errors import NameTaken
from dayfly.store import IdempotencyKey, NewCluster, NewPool, Store
from dayfly.store.clusters import pool_claims, queries
from dayfly.store.db.database import Database, Transaction
from dayfly.store.db.tables import clusters
from tests.store.helpers import claim_one, make_members, several_stores
from tests.support.databases import KEYS
from tests.support.specs import make_spec

KEY: Final = IdempotencyKey("key", "fingerprint")
_WAITING: Final = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class RolledBack(Exception):
    """A transaction that does not commit."""


class Unfinished:
    """A database whose writes wait, just before they commit, for `end`; with `fail` they are rolled back then."""

    def __init__(self, database: Database) -> None:
        self.reached, self.end = asyncio.Event(), asyncio.Event()
        self.fail = False
        self._database = database

    @asynccontextmanager
    async def write(self, *, caller_waits: bool = False) -> AsyncIterator[Transaction]:
        async with self._database.write(caller_waits=caller_waits) as transaction:
            yield transaction
            self.reached.set()
            await self.end.wait()
            if self.fail:
                raise RolledBack


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    async with several_stores(url, 2) as (first, second):
        yield first, second


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when a request has found no member that can be locked."""
    found_none = asyncio.Event()

    async def take_member(transaction: Transaction, new: NewCluster) -> Cluster | None:
        taken = await pool_claims.take_member(transaction, new)
        if taken is None:
            found_none.set()
        return taken

    monkeypatch.setattr(queries, "take_member", take_member)
    return found_none


async def fill(store: Store, count: int) -> tuple[Cluster, ...]:
    pool = await store.pools.create(NewPool("warm", "default", make_spec(), count, count))
    return await make_members(store, pool, count)


def on_sqlite(store: Store) -> bool:
    return store._database._engine.dialect.name == "sqlite"


async def until_blocked(store: Store, count: int) -> None:
    """Wait until so many transactions wait for a lock. On SQLite all wait for the only write lock."""
    if on_sqlite(store):
        return
    async with asyncio.timeout(20), store._database.read() as connection:
        while (await connection.execute(_WAITING)).scalar_one() < count:  # noqa: ASYNC110 - nothing tells of a lock
            await asyncio.sleep(0.01)


@asynccontextmanager
async def unfinished(store: Store, new: NewCluster, key: IdempotencyKey | None = None) -> AsyncIterator[Unfinished]:
    """A request that has claimed a member, and whose transaction has not ended yet; it has after the block."""
    database = Unfinished(store._database)
    request = asyncio.create_task(Store(cast("Database", database)).clusters.create(new, key))
    try:
        async with asyncio.timeout(20):
            await database.reached.wait()
        yield database
        database.end.set()
        if database.fail:
            with pytest.raises(RolledBack):
                await request
        else:
            assert (await request)[0].reserved
    finally:
        database.end.set()
        await asyncio.gather(request, return_exceptions=True)


async def in_the_meantime(store: Store, request: Awaitable[Any], database: Unfinished) -> Any:
    """The request's result, before `database` ends its transaction; on SQLite, after it."""
    if on_sqlite(store):
        database.end.set()
    async with asyncio.timeout(20):
        return await request


async def test_who_waits_for_its_key_holds_no_member(stores: tuple[Store, Store]) -> None:
    first, store = stores
    found = await fill(store, 2)
    async with unfinished(first, NewCluster(None, make_spec()), KEY) as database:
        copies = [asyncio.create_task(store.clusters.create(NewCluster(None, make_spec()), KEY)) for _ in range(3)]
        await until_blocked(store, 3)
        other, _ = await in_the_meantime(store, store.clusters.create(NewCluster(None, make_spec())), database)
        assert other.reserved
    made = await asyncio.gather(*copies)
    assert [created for _, created in made] == [False] * 3
    assert {cluster.id for cluster, _ in made} | {other.id} == {member.id for member in found}


async def test_who_waits_for_its_name_holds_no_member(stores: tuple[Store, Store]) -> None:
    first, store = stores
    found = await fill(store, 2)
    async with unfinished(first, NewCluster("demo", make_spec())) as database:
        same = asyncio.create_task(store.clusters.create(NewCluster("demo", make_spec())))
        await until_blocked(store, 1)
        other, _ = await in_the_meantime(store, store.clusters.create(NewCluster(None, make_spec())), database)
        assert other.reserved
    with pytest.raises(NameTaken):
        await same
    assert {other.id, (await store.clusters.get("demo")).id} == {member.id for member in found}


@pytest.mark.parametrize("what", ["key", "name"])
async def test_a_key_or_name_whose_transaction_is_rolled_back_is_free(stores: tuple[Store, Store], what: str) -> None:
    first, store = stores
    found = await fill(store, 2)
    new, key = NewCluster("demo" if what == "name" else None, make_spec()), KEY if what == "key" else None
    async with unfinished(first, new, key) as database:
        database.fail = True
        same = asyncio.create_task(store.clusters.create(new, key))
        await until_blocked(store, 1)
    made, created = await same
    assert created
    assert made.reserved
    assert made.id in {member.id for member in found}
    assert len(await store.pools.members(str(found[0].pool_id))) == 1


async def test_a_member_that_another_transaction_gives_back_is_waited_for(
    stores: tuple[Store, Store], looked: asyncio.Event
) -> None:
    first, store = stores
    [member] = await fill(store, 1)
    async with unfinished(first, NewCluster(None, make_spec())) as database:
        database.fail = True
        looked.clear()
        request = asyncio.create_task(store.clusters.create(NewCluster("mine", make_spec()), KEY))
        if not on_sqlite(store):  # where it cannot even look before the other transaction has ended
            await looked.wait()
    mine, created = await request
    assert created
    assert (mine.id, mine.name, mine.reserved) == (member.id, "mine", True)


async def test_a_member_that_another_transaction_claims_is_not_waited_for(
    stores: tuple[Store, Store], looked: asyncio.Event
) -> None:
    first, store = stores
    [member] = await fill(store, 1)
    async with unfinished(first, NewCluster(None, make_spec())):
        request = asyncio.create_task(store.clusters.create(NewCluster(None, make_spec())))
        if not on_sqlite(store):
            await looked.wait()
    mine, _ = await request
    assert (mine.phase, mine.id == member.id) == (Phase.PENDING, False)


async def test_a_member_that_a_worker_is_at_is_waited_for(store: Store, looked: asyncio.Event) -> None:
    [member] = await fill(store, 1)
    await store.maintenance.requeue([member.id])
    claim = await claim_one(store)
    request = asyncio.create_task(store.clusters.create(NewCluster(None, make_spec())))
    await looked.wait()
    await store.leases.renew(claim, lease_seconds=60)
    await store.leases.release(claim, due_in_seconds=None)
    mine, _ = await request
    assert (mine.id, mine.reserved) == (member.id, True)


async def test_a_member_that_turns_out_broken_is_waited_for_no_longer(
    store: Store, looked: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_claims, "WAIT_SECONDS", 3600.0)  # only the member's phase can end the wait
    [member] = await fill(store, 1)
    await store.maintenance.requeue([member.id])
    claim = await claim_one(store)
    request = asyncio.create_task(store.clusters.create(NewCluster(None, make_spec())))
    await looked.wait()
    await store.status.set_phase(claim, Phase.FAILED)
    async with asyncio.timeout(20):
        mine, _ = await request
    assert (mine.phase, mine.id == member.id) == (Phase.PENDING, False)


async def test_a_member_that_stays_locked_is_waited_for_for_a_bounded_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite a locked row is a locked database."""
    monkeypatch.setattr(pool_claims, "WAIT_SECONDS", 0.2)
    store = await Store.open(postgres_url, KEYS)
    try:
        [member] = await fill(store, 1)
        async with store._database.write() as transaction:
            lock = select(clusters.c.id).where(clusters.c.id == member.id).with_for_update()
            await transaction.connection.execute(lock)
            mine, _ = await store.clusters.create(NewCluster(None, make_spec()))
        assert (mine.phase, mine.id == member.id) == (Phase.PENDING, False)
    finally:
        await store.close()


async def test_as_many_requests_as_members_get_one_each_while_workers_look_at_them(stores: tuple[Store, Store]) -> None:
    found = await fill(stores[0], 6)

    async def look() -> None:
        for _ in range(10):
            await stores[1].maintenance.requeue([member.id for member in found])
            for claim in await stores[1].leases.claim("worker", lease_seconds=60, limit=3):
                await stores[1].leases.release(claim, due_in_seconds=60)

    requests = (stores[number % 2].clusters.create(NewCluster(None, make_spec())) for number in range(6))
    made, _ = await asyncio.gather(asyncio.gather(*requests), look())
    assert {cluster.id for cluster, _ in made} == {member.id for member in found}
