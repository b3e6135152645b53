"""Idempotency keys of requests that create no cluster. Not here: POST /v1/clusters (test_cluster_queries.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, NamedTuple

import pytest
from sqlalchemy import func, select, update

from dayfly.domain.cluster.boot_source import IMAGE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.errors import IdempotencyKeyReused, NameTaken
from dayfly.store import CarriedOut, IdempotencyKey, NewPool, Store
from dayfly.store.db.tables import clusters, idempotency_keys, templates
from tests.store.helpers import claim_one, make_ready, move, set_back, several_stores
from tests.support.specs import make_spec

KEY: Final = IdempotencyKey("key", "fingerprint")
OTHER_BODY: Final = IdempotencyKey("key", "another")


class Request(NamedTuple):
    send: Callable[[Store, IdempotencyKey], Awaitable[Any]]
    resource: Callable[[Any], tuple[str | None, str | None]]
    """The ids of the cluster and of another resource that the key's record must have."""


REQUESTS: Final = {
    "pool": Request(
        lambda store, key: store.pools.create(NewPool("warm", "default", make_spec(), 1, 1), key),
        lambda made: (None, made.id),
    ),
    "template": Request(
        lambda store, key: store.templates.create(make_spec(), "default", "shape", key),
        lambda made: (None, made[0].id),
    ),
    "checkpoint": Request(
        lambda store, key: store.checkpoints.create("demo", "one", key), lambda made: (made.cluster_id, None)
    ),
    "reset": Request(lambda store, key: store.lifecycle.reset("demo", IMAGE, key), lambda made: (made.id, None)),
    "hibernate": Request(lambda store, key: store.lifecycle.hibernate("demo", key), lambda made: (made.id, None)),
    "resume": Request(lambda store, key: store.lifecycle.resume("demo", key), lambda made: (made.id, None)),
}


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, ...]]:
    """Of two processes, where the database serves two; with a ready cluster `demo`."""
    async with several_stores(url, 2) as found:
        await make_ready(found[0], "demo")
        yield found


async def count(store: Store) -> int:
    async with store._database.read() as connection:
        found: int = (await connection.execute(select(func.count()).select_from(idempotency_keys))).scalar_one()
    return found


@pytest.mark.parametrize("kind", REQUESTS)
async def test_of_requests_with_one_key_one_is_carried_out(stores: tuple[Store, ...], kind: str) -> None:
    send, resource = REQUESTS[kind]
    results = await asyncio.gather(*(send(stores[i % 2], KEY) for i in range(6)), return_exceptions=True)
    [made] = [result for result in results if not isinstance(result, BaseException)]
    uses = {result.use for result in results if isinstance(result, CarriedOut)}
    assert len([result for result in results if isinstance(result, CarriedOut)]) == 5, results
    [use] = uses
    assert (use.cluster_id, use.resource_id) == resource(made)
    with pytest.raises(IdempotencyKeyReused):
        await send(stores[1], OTHER_BODY)
    assert await count(stores[0]) == 1


async def test_a_refused_request_leaves_its_key_unused(stores: tuple[Store, ...]) -> None:
    store = stores[0]
    new = NewPool("warm", "default", make_spec(), 1, 1)
    await store.pools.create(new)
    with pytest.raises(NameTaken):
        await store.pools.create(new, KEY)
    await store.idempotency_keys.require_new(KEY)
    assert await count(store) == 0


async def purged(store: Store) -> int:
    """The number of keys that are left of those older than an hour, or of resources that have been gone for so long."""
    await store.maintenance.purge_deleted(3600, limit=100)
    return await count(store)


async def age(store: Store) -> None:
    """As if all keys had been recorded two hours ago."""
    async with store._database.write() as transaction:
        past = transaction.now - timedelta(hours=2)
        await transaction.execute(update(idempotency_keys).values(created_at=past))


async def test_the_key_of_a_pool_stays_as_long_as_that_of_a_cluster(stores: tuple[Store, ...]) -> None:
    store = stores[0]
    await REQUESTS["pool"].send(store, KEY)
    await age(store)
    assert await purged(store) == 1
    await store.pools.delete("warm")
    assert await purged(store) == 1
    await age(store)
    assert await purged(store) == 0


async def test_the_key_of_a_template_goes_with_its_record(stores: tuple[Store, ...]) -> None:
    store = stores[0]
    await REQUESTS["template"].send(store, KEY)
    await age(store)
    assert await purged(store) == 1
    async with store._database.write() as transaction:
        await transaction.execute(update(templates).values(gone_at=transaction.now - timedelta(hours=2)))
    assert await purged(store) == 0


async def test_keys_of_requests_about_a_cluster_go_with_its_record(stores: tuple[Store, ...]) -> None:
    store = stores[0]
    for kind in ("checkpoint", "reset"):
        await REQUESTS[kind].send(store, IdempotencyKey(kind, "fingerprint"))
    await age(store)
    deleted = await store.lifecycle.delete("demo")
    await move(store, await claim_one(store), Phase.DELETING, Phase.DELETED)
    assert await purged(store) == 2
    await set_back(store, deleted.id, clusters.c.deleted_at, 7200)
    assert await purged(store) == 0
