"""An API with its own store for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from dayfly.store import Store
from tests.support.api import ApiHttp, Infrastructure, Worker, database_url, make_teams
from tests.support.databases import KEYS


@pytest.fixture(autouse=True)
def _plain_tracebacks() -> Iterator[None]:
    """structlog's own default draws tracebacks with all local variables, which takes seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(database_url(tmp_path), KEYS)
    yield opened
    await opened.close()


@pytest.fixture
def infrastructure() -> Infrastructure:
    return Infrastructure()


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store)


@pytest.fixture
async def http(store: Store, infrastructure: Infrastructure) -> AsyncIterator[httpx.AsyncClient]:
    await make_teams(store)
    async with ApiHttp(infrastructure.services(store)) as client:
        yield client
