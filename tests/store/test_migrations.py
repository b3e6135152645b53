"""The schema: created from nothing, unchanged if present, and equal to the tables in the code."""

from __future__ import annotations

import asyncio

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from dayfly.store import Store
from dayfly.store.db.migrate import configuration
from dayfly.store.db.tables import metadata
from tests.store.helpers import create


def _drift(connection: Connection) -> object:
    options = {"compare_type": True, "compare_server_default": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


async def test_the_scripts_make_what_the_code_believes(store: Store) -> None:
    async with store._database.read() as connection:
        assert await connection.run_sync(_drift) == []


async def test_partial_indices_are_partial(store: Store) -> None:
    queries = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index'",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes",
    }
    async with store._database.read() as connection:
        rows = (await connection.execute(text(queries[connection.dialect.name]))).all()
    definitions = {name: (sql or "").lower() for name, sql in rows}
    assert "unique" in definitions["uq_clusters_living_name"]
    assert "'deleted'" in definitions["uq_clusters_living_name"]
    assert "due_at is not null" in definitions["ix_clusters_due_at"]


async def test_stores_that_open_one_new_database_at_once_agree(postgres_url: str) -> None:
    stores = await asyncio.gather(*(Store.open(postgres_url) for _ in range(4)))
    try:
        made = await create(stores[0], "demo")
        for store in stores:
            assert await store.clusters.get("demo") == made
    finally:
        for store in stores:
            await store.close()


async def test_a_schema_from_a_newer_dayfly_is_left_alone(empty_url: str) -> None:
    store = await Store.open(empty_url)
    async with store._database.write() as transaction:
        await transaction.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    store = await Store.open(empty_url)
    try:
        assert (await create(store, "demo")).name == "demo"
        async with store._database.read() as connection:
            assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar() == "9999"
    finally:
        await store.close()


async def test_all_the_way_down_and_up_again(store: Store) -> None:
    def down(connection: Connection) -> None:
        command.downgrade(configuration(connection), "base")

    def up(connection: Connection) -> None:
        command.upgrade(configuration(connection), "head")

    async with store._database.write() as transaction:
        await transaction.connection.run_sync(down)
        tables = await transaction.connection.run_sync(lambda c: inspect(c).get_table_names())
        assert tables == ["alembic_version"]
        await transaction.connection.run_sync(up)
        assert await transaction.connection.run_sync(_drift) == []


def test_revisions_form_one_line() -> None:
    assert len(ScriptDirectory.from_config(configuration()).get_heads()) == 1


def test_migrations_do_not_run_by_themselves() -> None:
    with pytest.raises(RuntimeError, match=r"dayfly\.store\.db\.migrate"):
        command.upgrade(configuration(), "head")
