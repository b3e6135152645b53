"""Removes what was deleted from the files of a SQLite database. Not here: the pragma secure_delete (database.py).

Rows that are deleted are overwritten in the database's file, but their former pages stay in the write-ahead log until
the log is written again from its beginning.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

_ERASED: Final = 1
"""SQLite's `user_version` of a file that was rewritten since its secrets are encrypted and deleted rows overwritten."""
_PATIENCE_MILLISECONDS: Final = 500
"""For readers that need the log; a backup may need it for minutes."""


async def erase_former(connection: AsyncConnection) -> None:
    """Rewrite a file that may have deleted rows of older releases in its free pages, once; and empty its log.

    `connection` is in no transaction.
    """
    if (await connection.exec_driver_sql("PRAGMA user_version")).scalar_one() < _ERASED:
        await connection.exec_driver_sql("VACUUM")
        # Last: a process that ends before does it again at its next start.
        await connection.exec_driver_sql(f"PRAGMA user_version = {_ERASED}")
        await truncate_log(connection)


async def truncate_log(connection: AsyncConnection) -> bool:
    """Write the log into the file and empty it; whether no reader was in the way. `connection` is in no transaction."""
    usual = (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar_one()
    await connection.exec_driver_sql(f"PRAGMA busy_timeout = {_PATIENCE_MILLISECONDS}")
    try:
        (busy, *_) = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
        return not busy
    finally:
        await connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual}")
