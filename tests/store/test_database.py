"""Opening a store: files and their modes, unusable URLs, lost databases."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from dayfly.errors import DatabaseUnavailable, InvalidRequest
from dayfly.store import Store
from dayfly.store.db.database import Database
from dayfly.store.db.migrate import current_revisions
from tests.store.helpers import claim_new, create


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_lies_in_a_sqlite_file_is_for_its_owner_only(sqlite_url: str, tmp_path: Path) -> None:
    store = await Store.open(sqlite_url)
    try:
        await create(store)
        folder = tmp_path / "state"
        assert mode(folder) == 0o700
        files = {path.name: mode(path) for path in folder.iterdir()}
        assert files == dict.fromkeys(("dayfly.db", "dayfly.db-wal", "dayfly.db-shm", "dayfly.db.lock"), 0o600)
    finally:
        await store.close()


async def test_a_file_that_was_open_to_all_is_closed(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "state" / "dayfly.db"
    file.parent.mkdir()
    file.touch(mode=0o644)
    await (await Store.open(sqlite_url)).close()
    assert mode(file) == 0o600


async def test_what_was_written_is_there_after_opening_again(empty_url: str) -> None:
    store = await Store.open(empty_url)
    made = await create(store, "demo")
    await store.close()
    store = await Store.open(empty_url)
    try:
        assert await store.clusters.get("demo") == made
        await store.ping()
    finally:
        await store.close()


async def test_who_only_looks_does_not_migrate(empty_url: str) -> None:
    for migrating, revisions in (False, 0), (True, 1), (False, 1):
        await (await Store.open(empty_url, migrating=migrating)).close()
        database = await Database.open(empty_url, migrating=False)
        try:
            async with database.read() as connection:
                assert len(await connection.run_sync(current_revisions)) == revisions
        finally:
            await database.close()


async def test_a_store_may_be_closed_twice(empty_url: str) -> None:
    store = await Store.open(empty_url)
    await store.close()
    await store.close()


@pytest.mark.parametrize("wrong", ["", "nonsense", "mysql://host/db", "sqlite+aiosqlite://", "sqlite:///:memory:"])
async def test_a_url_that_is_no_database_of_ours_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest):
        await Store.open(wrong)


async def test_a_password_is_in_no_error() -> None:
    with pytest.raises(InvalidRequest) as caught:
        await Store.open("postgresql://user:hunter2@host:port/db")
    assert "hunter2" not in str(caught.value)


async def test_a_short_scheme_will_do(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/short.db")
    await store.ping()
    await store.close()


async def test_no_server_is_database_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await Store.open(f"postgresql+asyncpg://user@/db?host={tmp_path}")
    assert caught.value.retryable
    assert caught.value.message == "the database cannot be reached"
    assert caught.value.operator_detail


async def test_no_such_database_is_database_unavailable(postgres_url: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await Store.open(postgres_url.replace("/test_", "/none_"))


async def test_no_place_for_a_file_is_database_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable):
        await Store.open(f"sqlite+aiosqlite:///{tmp_path}/file/dayfly.db")


@pytest.mark.parametrize("migrating", [True, False])
async def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path, migrating: bool) -> None:
    file = tmp_path / "dayfly.db"
    file.write_bytes(b"something else entirely" * 100)
    with pytest.raises(DatabaseUnavailable):
        await Store.open(f"sqlite+aiosqlite:///{file}", migrating=migrating)
    assert file.read_bytes() == b"something else entirely" * 100


async def test_broken_connections_are_replaced(postgres_url: str) -> None:
    store = await Store.open(postgres_url)
    try:
        await asyncio.gather(*(store.ping() for _ in range(4)))
        terminate = text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database() AND application_name = 'dayfly'"
        )
        async with store._database.write() as transaction:
            assert (await transaction.connection.execute(terminate)).scalar_one() > 0
        await asyncio.gather(*(store.ping() for _ in range(4)))
        assert (await create(store, "demo")).name == "demo"
    finally:
        await store.close()


async def test_a_connection_that_breaks_under_a_query_is_database_unavailable(postgres_url: str) -> None:
    store = await Store.open(postgres_url)
    try:
        with pytest.raises(DatabaseUnavailable):
            async with store._database.read() as connection:
                await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        await store.ping()
    finally:
        await store.close()


async def test_a_row_locked_for_too_long_is_database_unavailable(postgres_url: str) -> None:
    store = await Store.open(postgres_url)
    try:
        claim = await claim_new(store)
        lock = text("SELECT 1 FROM clusters FOR UPDATE")

        async def impatient_lock() -> None:
            async with store._database.write() as transaction:
                await transaction.connection.execute(text("SET LOCAL lock_timeout = '20ms'"))
                await transaction.connection.execute(lock)

        async with store._database.write() as transaction:
            await transaction.connection.execute(lock)
            with pytest.raises(DatabaseUnavailable):
                await impatient_lock()
        await store.leases.renew(claim, lease_seconds=60)
    finally:
        await store.close()


async def test_a_cancelled_write_leaves_nothing_and_the_store_usable(store: Store) -> None:
    entered = asyncio.Event()

    async def write() -> None:
        async with store._database.write():
            entered.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        await entered.wait()
        task.cancel()
    assert (await create(store, "demo")).name == "demo"
