"""Brings a database's schema up to date: alembic, run from code. The migrations themselves are in migrations/.

Processes that open one PostgreSQL database at once take turns by an advisory lock; a SQLite file has one process. All
migrations run in one transaction, so that no database is left half-migrated.
"""

from __future__ import annotations

from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly import assets

_ADVISORY_LOCK: Final = 0x6461_7966_6C79  # "dayfly"

TABLE_LOCK_SECONDS: Final = 10.0
"""How long a migration waits for a table that somebody holds."""


async def migrate(connection: AsyncConnection, *, seconds: float) -> None:
    """Upgrade to the newest revision in the transaction of `connection`; no statement may take over `seconds`."""
    if connection.dialect.name == "postgresql":
        for setting in ("lock_timeout", "statement_timeout"):
            await connection.exec_driver_sql(f"SET LOCAL {setting} = {int(seconds * 1000)}")
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        # A table that somebody holds on to must not keep all others from it for long.
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(TABLE_LOCK_SECONDS * 1000)}")
    await connection.run_sync(_upgrade)


def configuration(connection: Connection | None = None) -> Config:
    """What alembic.ini would say. With a connection, migrations/env.py uses it."""
    config = Config()
    config.set_main_option("script_location", str(assets.migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    config = configuration(connection)
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    if present == set(scripts.get_heads()):
        return
    if present - known:
        # Made by a newer Dayfly: schemas expand before they contract, so that an older replica runs on beside it.
        return
    command.upgrade(config, "head")
