"""Translates errors of the database's driver into errors of dayfly.errors.

The database's own text is the error's `operator_detail`, for the log: callers of the API see Dayfly's sentence.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dayfly.errors import DatabaseUnavailable

_PASSING: Final = ("08", "25P03", "28", "3D", "40", "53", "55", "57", "58")
"""SQLSTATE classes of transient errors: of the server, the network or a lock, not of a statement."""

_NO_DATABASE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


@asynccontextmanager
async def translated(seconds: float) -> AsyncIterator[None]:
    """Limit the block to `seconds`; raise DatabaseUnavailable for transient errors. Other errors pass through."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("no database connection became free in time") from error
    except DBAPIError as error:
        if not _passing(error):
            raise
        # The driver's text: SQLAlchemy's would add the statement and its parameters.
        raise DatabaseUnavailable("the database did not answer", operator_detail=str(error.orig)) from error
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(_PASSING):
            raise
        raise DatabaseUnavailable("the database refused the request", operator_detail=str(error)) from error
    except asyncpg.InterfaceError as error:
        raise DatabaseUnavailable("the connection to the database is lost", operator_detail=str(error)) from error
    except TimeoutError as error:
        raise DatabaseUnavailable(f"the database did not answer within {seconds:g} s") from error
    except OSError as error:
        raise DatabaseUnavailable("the database cannot be reached", operator_detail=str(error)) from error


def _passing(error: DBAPIError) -> bool:
    if error.connection_invalidated or isinstance(error, OperationalError):
        return True  # on SQLite: locked for too long, disk full, file cannot be opened
    if isinstance(error.orig, sqlite3.DatabaseError):
        return error.orig.sqlite_errorcode in _NO_DATABASE
    return str(getattr(error.orig, "sqlstate", None) or "").startswith(_PASSING)
