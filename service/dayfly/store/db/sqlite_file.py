"""A SQLite database's file and its lock: one process at a time has the database open.

Commits are notified and writers are queued within the process (notification: notify/commit_notifier.py, queue:
db/database.py): a second process would take part in neither. Not here: SQLite's own locks, which protect the data.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dayfly.errors import DatabaseInUse, NotFound


def open_sqlite_file(path: Path) -> int:
    """Create missing folder and file, readable by their owner only, and lock the database for this process.

    Returns the lock's descriptor. The kernel frees the lock when the descriptor is closed or the process ends, even by
    SIGKILL. Raises DatabaseInUse if the lock is taken, OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        # SQLite gives its -wal and -shm files the mode of the database itself.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError:
        os.close(lock)
        raise
    return lock


def require_sqlite_file(path: Path) -> None:
    """For a process beside the one that has the database open, which takes no lock. Raises NotFound."""
    if not path.exists():
        raise NotFound(f"there is no database at {path}")


def _lock(path: Path) -> int:
    # A separate file, never removed: closing a descriptor of the database itself would drop SQLite's locks.
    # The path is resolved, so that a symbolic link leads to the same lock.
    lock = os.open(f"{path.resolve()}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode()
        os.close(lock)
        raise DatabaseInUse(
            f"the SQLite database {path} is in use by another process{holder and f' ({holder})'}, and SQLite serves "
            "one process: use PostgreSQL for several (DAYFLY_DATABASE_URL=postgresql+asyncpg://…)"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
