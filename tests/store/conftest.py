"""Runs every test of the store on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dayfly.store import Store
from tests.support.databases import KEYS, empty_again, migrated_postgresql, new_sqlite
from tests.support.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/state/dayfly.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """An empty database, of each kind in turn."""
    found: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return found


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> Iterator[str]:
    with migrated_postgresql(postgres) as url:
        yield url


@pytest.fixture
def server_url(postgres: PostgresServer, migrated: str) -> str:
    """A PostgreSQL database with the newest schema and nothing in it: for what takes several processes."""
    empty_again(postgres, migrated)
    return migrated


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the newest schema and nothing in it, of each kind in turn."""
    if request.param == "sqlite":
        return new_sqlite(tmp_path / "state/dayfly.db")
    found: str = request.getfixturevalue("server_url")
    return found


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await Store.open(url, KEYS)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def server_store(server_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(server_url, KEYS)
    try:
        yield opened
    finally:
        await opened.close()
