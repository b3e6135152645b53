"""A new store, and a claim on a cluster in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dayfly.store import Claim, NewCluster, Store
from tests.support.clock import FakeClock
from tests.support.databases import KEYS, new_sqlite
from tests.support.specs import make_spec


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(new_sqlite(tmp_path / "dayfly.db"), KEYS)
    yield store
    await store.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def claim(store: Store) -> Claim:
    await store.clusters.create(NewCluster("demo", make_spec(workers=1)))
    await store.admission.admit(lambda queue: queue.waiting)
    (claim,) = await store.leases.claim("tester", lease_seconds=60, limit=1)
    return claim
