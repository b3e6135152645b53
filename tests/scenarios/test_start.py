"""The start of a process: it waits for a missing database server, and fails for a file that cannot be opened."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.errors import DatabaseUnavailable
from dayfly.process import open_store
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.store.db.secret_keys import KeySource
from tests.support.clock import FakeClock

SERVER = Settings(database_url="postgresql+asyncpg://nobody@nowhere/dayfly")


@pytest.fixture
def refusals(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[DatabaseUnavailable]:
    """Each opening fails with one of these errors; the last returns `store`."""
    left = [DatabaseUnavailable("nobody there") for _ in range(3)]

    async def open_(url: str, keys: KeySource) -> Store:
        if left:
            raise left.pop()
        return store

    monkeypatch.setattr(Store, "open", open_)
    return left


async def test_a_database_server_is_waited_for(store: Store, refusals: list[DatabaseUnavailable]) -> None:
    clock = FakeClock()
    assert await open_store(SERVER, clock, asyncio.Event()) is store
    assert len(clock.slept) == 3


async def test_who_is_told_to_stop_waits_no_more(refusals: list[DatabaseUnavailable]) -> None:
    stop = asyncio.Event()
    stop.set()
    assert await open_store(SERVER, FakeClock(), stop) is None


async def test_a_file_that_cannot_be_opened_is_told_at_once(refusals: list[DatabaseUnavailable]) -> None:
    settings = Settings(database_url="sqlite+aiosqlite:////nowhere/dayfly.db")
    with pytest.raises(DatabaseUnavailable):
        await open_store(settings, FakeClock(), asyncio.Event())
