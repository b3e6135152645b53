"""Copies of a SQLite database while a service has it open, and their return to their place.

A plain copy of the file lacks what is in the write-ahead log. Not here: PostgreSQL, which has its own programs, and
what the database needs after its return (maintenance.py).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from dayfly.errors import Conflict, InvalidRequest, NotFound
from dayfly.store.db.sqlite_file import open_sqlite_file


def back_up(database: Path, target: Path) -> None:
    """Copy the database as it is at one moment to the new file `target`, which only its owner can read.

    Writers do not wait. Raises NotFound, Conflict where `target` exists, InvalidRequest, OSError.
    """
    if not database.exists():
        raise NotFound(f"there is no database at {database}")
    if target.exists():
        raise Conflict(f"{target} exists: a backup replaces no file")
    _copy(database, target)


def put_back(backup: Path, database: Path) -> None:
    """Copy a backup to the place of a database that is not there, and that no process has open.

    Raises NotFound, Conflict, InvalidRequest where the file is no backup, DatabaseInUse, OSError.
    """
    if not backup.exists():
        raise NotFound(f"there is no backup at {backup}")
    for found in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        if found.exists():
            raise Conflict(f"{found} exists: stop the service, and move the files of its database away")
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied = database.with_name(f"{database.name}.restored")
    copied.unlink(missing_ok=True)
    _copy(backup, copied)
    try:
        lock = open_sqlite_file(database)
        try:
            copied.replace(database)
        finally:
            os.close(lock)
    finally:
        copied.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        with _readable(source), _open(source, "ro") as read, _open(part, "rw") as written:
            read.backup(written)
            # Also of the copy: a disk may have changed a page on the way.
            (result,) = written.execute("PRAGMA integrity_check").fetchone()
            written.execute("SELECT version_num FROM alembic_version").fetchone()
        if result != "ok":
            raise InvalidRequest(f"{source} is damaged: {result}")
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode={mode}", uri=True, timeout=30)) as connection:
        yield connection


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise InvalidRequest(f"{source} cannot be copied as a database of Dayfly: {error}") from error
