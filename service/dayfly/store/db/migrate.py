"""Brings a database's schema up to date: alembic, run from code. The migrations themselves are in migrations/.

Processes that open one PostgreSQL database at once take turns by an advisory lock; a SQLite file has one process. All
migrations run in one transaction, so that no database is left half-migrated.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly import assets
from dayfly.domain.security.envelope import KeyRing
from dayfly.store.db.secret_keys import SecretKeys

_ADVISORY_LOCK: Final = 0x6461_7966_6C79  # "dayfly"

TABLE_LOCK_SECONDS: Final = 10.0
"""How long a migration waits for a table lock."""


async def migrate(connection: AsyncConnection, keys: SecretKeys, *, seconds: float) -> None:
    """Upgrade to the newest revision in the transaction of `connection`. Each statement may take `seconds`.

    Raises SecretsKeyMissing, SecretsKeyUnusable.
    """
    if connection.dialect.name == "postgresql":
        for setting in ("lock_timeout", "statement_timeout"):
            await connection.exec_driver_sql(f"SET LOCAL {setting} = {int(seconds * 1000)}")
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        # A migration that waits for a table lock blocks all later users of the table: limit the wait.
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(TABLE_LOCK_SECONDS * 1000)}")
    await keys.prepare(connection, make=True)
    await connection.run_sync(_upgrade, keys.ring)
    await keys.register(connection)


def configuration(connection: Connection | None = None, ring: KeyRing | None = None) -> Config:
    """Alembic's configuration, in place of alembic.ini. migrations/env.py uses `connection` if given.

    `ring`: the keys of secrets, for databases that have any.
    """
    config = Config()
    config.set_main_option("script_location", str(assets.migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["secret_ring"] = ring
    return config


def current_revisions(connection: Connection) -> set[str]:
    """The revisions of the database's schema; none: it has no schema yet."""
    return set(MigrationContext.configure(connection).get_current_heads())


def _upgrade(connection: Connection, ring: KeyRing) -> None:
    config = configuration(connection, ring)
    known, newest = _revisions(str(config.get_main_option("script_location")))
    present = current_revisions(connection)
    if present == newest:
        return
    if present - known:
        # A newer Dayfly migrated: migrations only add, so this older replica can continue.
        return
    command.upgrade(config, "head")


@cache
def _revisions(folder: str) -> tuple[frozenset[str], frozenset[str]]:
    """All revisions and the newest. Read once in a process: alembic executes every script to find out, before a store
    of an up-to-date database opens.
    """
    scripts = ScriptDirectory(folder)
    return frozenset(script.revision for script in scripts.walk_revisions()), frozenset(scripts.get_heads())
