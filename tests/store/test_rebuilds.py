"""When recipes are looked at for news, and the bakes that follow."""

from __future__ import annotations

import asyncio

from dayfly.domain.bake import BakeOrder
from dayfly.store import Store
from tests.store.helpers import several_stores

ORDER = BakeOrder("bare", state="a" * 64, promote=True)


async def test_a_look_is_due_once_in_an_interval(store: Store) -> None:
    assert await store.rebuilds.begin_check("bare", 3600)
    assert not await store.rebuilds.begin_check("bare", 3600)
    assert await store.rebuilds.begin_check("k8s-debian", 3600)
    assert await store.rebuilds.begin_check("bare", 60), "the setting has become shorter"
    await store.rebuilds.repeat_check("bare", 0)
    assert await store.rebuilds.begin_check("bare", 3600)
    await store.rebuilds.repeat_check("unknown", 0)


async def test_of_builders_that_look_at_once_one_does(url: str) -> None:
    async with several_stores(url, 4) as stores:
        found = await asyncio.gather(*(store.rebuilds.begin_check("bare", 3600) for store in stores))
        assert sorted(found) == [False, False, False, True]


async def test_one_rebuild_of_a_recipe_at_a_time(store: Store) -> None:
    ordinary = await store.bakes.create(BakeOrder("bare", conformance=()), "me")
    made = await store.rebuilds.create(ORDER, "default", "openssl 1 → 2")
    assert made is not None
    assert (made.order, made.owner) == (ORDER, "default")
    assert (await store.bakes.get(made.id)).order == ORDER
    assert [event.message for event in await store.bakes.events(made.id)] == ["openssl 1 → 2"]
    assert await store.rebuilds.create(ORDER, "default", "again") is None
    assert await store.rebuilds.create(BakeOrder("k8s-debian", state="b"), "default", "x") is not None
    await store.bakes.cancel(made.id)
    assert await store.rebuilds.create(ORDER, "default", "again") is not None
    assert (await store.bakes.get(ordinary.id)).order.state == ""
