"""New databases with the present schema, migrated once and copied: migrations take longer than most tests.

Not here: the empty databases of the migrations' own tests (tests/store/conftest.py).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from dayfly.domain.security.envelope import SecretKey
from dayfly.key_sources import KeyVariable
from dayfly.store import Store
from dayfly.store.db.tables import metadata
from tests.support.postgres import PostgresServer

KEY: Final = SecretKey(b"the key of all these databases..")
KEYS: Final = KeyVariable(SecretStr(KEY.text))
"""The keys of secrets that the databases are opened with."""

_END_SESSIONS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def new_sqlite(file: Path) -> str:
    """A database in `file`, which is not there yet; its URL. The file of its key is beside it, as a service has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    key = file.with_name("secrets.key")
    key.touch(mode=0o600)
    key.write_text(f"{KEY.text}\n")
    with file.open("xb") as new:
        new.write(_migrated_file())
    return _sqlite_url(file)


@contextmanager
def migrated_postgresql(server: PostgresServer) -> Iterator[str]:
    """A database that empty_again makes new for each test; its URL."""
    with server.database() as url:
        _migrate(url)
        yield url


def empty_again(server: PostgresServer, url: str) -> None:
    """Empty all tables but for the team of every installation. No session may be open.

    The key of secrets stays in force. Sequences keep their values, as after a deletion.
    """
    # TRUNCATE makes new files for everything, and takes ten times as long.
    emptied = ";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))  # noqa: S608 - our names
    emptied = emptied.replace("DELETE FROM teams", "DELETE FROM teams WHERE name <> 'default'")
    emptied = emptied.replace("DELETE FROM secret_keys", "DELETE FROM secret_keys WHERE NOT in_force")
    server.execute(url, _END_SESSIONS, emptied)


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory(prefix="dayfly-schema-") as folder:
        file = Path(folder) / "dayfly.db"
        _migrate(_sqlite_url(file))
        return file.read_bytes()


def _sqlite_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def _migrate(url: str) -> None:
    """Migrate as the service does, in a thread: the caller may run in an event loop."""

    async def open_and_close() -> None:
        store = await Store.open(url, KEYS)
        await store.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(open_and_close())).result()
