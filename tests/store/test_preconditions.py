"""Changes that require a state: of many at once, based on the same state, one is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dayfly.errors import PreconditionFailed
from dayfly.store import Change, NewPool, PoolChange, Store
from tests.store.helpers import make_ready, several_stores
from tests.support.specs import make_spec

RIVALS = 6


def _require(unchanged: Any, field: Callable[[Any], object]) -> Callable[[Any], None]:
    def check(resource: Any) -> None:
        if field(resource) != unchanged:
            raise PreconditionFailed("changed")

    return check


async def _change_cluster(store: Store, number: int) -> object:
    check = _require(None, lambda cluster: cluster.spec.ttl_seconds)
    return (await store.updates.change("demo", Change(ttl_seconds=number), require=check)).spec.ttl_seconds


async def _change_pool(store: Store, number: int) -> object:
    return (await store.pools.change("ci", PoolChange(size=number), _require(0, lambda pool: pool.size))).size


@pytest.mark.parametrize("change", [_change_cluster, _change_pool])
async def test_one_of_many_is_made(url: str, change: Callable[[Store, int], Awaitable[object]]) -> None:
    async with several_stores(url, 3) as stores:
        await make_ready(stores[0], "demo", ttl_seconds=None)
        await stores[0].pools.create(NewPool("ci", "default", make_spec(), 0, 9))
        numbers = [1000 + number for number in range(RIVALS)]
        answers = await asyncio.gather(
            *(change(stores[number % 3], number) for number in numbers), return_exceptions=True
        )
        refused = [one for one in answers if isinstance(one, PreconditionFailed)]
        (made,) = [one for one in answers if not isinstance(one, PreconditionFailed)]
        assert len(refused) == RIVALS - 1
        cluster, pool = await stores[0].clusters.get("demo"), await stores[0].pools.get("ci")
        assert made in {cluster.spec.ttl_seconds, pool.size}
