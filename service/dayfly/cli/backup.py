"""`dayfly backup` and `dayfly restore`: the database of this machine's service. Not here: how (store/)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.server_settings import command_settings
from dayfly.cli.terminal import say
from dayfly.key_sources import key_source
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.store.db.sqlite_backup import back_up, put_back


def backup(file: Annotated[Path, typer.Argument(help="The new file of the backup.")]) -> None:
    """Copy the service's SQLite database to FILE, while the service runs.

    The copy is of one moment, and has the secrets of all clusters, encrypted. The key of the secrets is not in it: keep
    a copy of the key in another place. PostgreSQL has its own programs (pg_dump).
    """
    database = command_settings().database_file
    if database is None:
        detail = "the database is PostgreSQL: back it up with pg_dump"
        raise CommandError("invalid_request", detail, exit_code=ExitCode.USAGE)
    with _named_errors():
        back_up(database, file)
    say(f"{file}: {file.stat().st_size} bytes")


def restore(
    file: Annotated[Path | None, typer.Argument(help="A backup of SQLite. Left out: for PostgreSQL.")] = None,
) -> None:
    """Put a backup in the place of the service's database, before the service starts.

    Without FILE, for PostgreSQL: complete what pg_restore has restored. In both cases, numbers that the service may
    have used after the backup are left out, because clusters' volumes and callers remember them.
    """
    settings = command_settings()
    database = settings.database_file
    if (file is None) == (database is not None):
        detail = "FILE is missing" if file is None else "the database is PostgreSQL: restore it with pg_restore first"
        raise CommandError("invalid_request", detail, exit_code=ExitCode.USAGE)
    if file is not None and database is not None:
        with _named_errors():
            put_back(file, database)
    asyncio.run(_complete(settings))
    say("restored: start the service, then see `dayfly gc --dry-run` for clusters that were created after the backup,")
    say("and `dayfly token list` for tokens that were revoked after the backup: they are valid again")


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError("not_written", f"{error.filename or 'the file'}: {error.strerror}") from error


async def _complete(settings: Settings) -> None:
    """Raises SecretsKeyMissing where the installation lacks the key of the backup's secrets."""
    store = await Store.open(settings.database, key_source(settings))
    try:
        await store.maintenance.skip_numbers()
    finally:
        await store.close()
