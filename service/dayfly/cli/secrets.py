"""`dayfly secrets`: the keys of the database's secrets, on the server. Not here: their file (key_sources.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from dayfly.cli import options
from dayfly.cli.emit import emit
from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.server_settings import command_settings
from dayfly.cli.terminal import say
from dayfly.domain.security.envelope import new_key
from dayfly.errors import SecretsKeyUnusable
from dayfly.key_sources import KeyFile, key_source
from dayfly.store import Store
from dayfly.store.db.secret_keys import KeySource

app = typer.Typer(
    no_args_is_help=True,
    help="Show and rotate the keys that encrypt the secrets in the service's database.",
    add_completion=False,
)


@app.command("keys")
def show_keys(output: options.Output = None, as_json: options.Json = False) -> None:
    """List the ids of the keys that the installation has, and of those that the database uses."""
    asyncio.run(_show_keys(output, as_json))


@app.command("rotate")
def rotate() -> None:
    """Encrypt all secrets with another key, while services run.

    A new key becomes the first of the installation's file. Where the file cannot be written, or processes have files of
    their own, put a new key before the others in each file, and run this command then. It continues a rotation that was
    cut off. Former keys stay in the file: backups from before need them.
    """
    asyncio.run(_rotate())


@app.command("abandon")
def abandon(
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without: only list.")] = False,
) -> None:
    """Delete what is lost with a lost key, so that the service starts again.

    Clusters and templates whose keys cannot be decrypted any more are deleted as soon as the service runs, and webhooks
    at once. Put the key back instead where there is a copy.
    """
    asyncio.run(_abandon(yes))


@asynccontextmanager
async def _beside(keys: KeySource | None) -> AsyncIterator[Store]:
    """The service's database, whether the service runs or not. Raises CommandError before the service's first start."""
    store = await Store.open(command_settings().database, keys, beside=True)
    try:
        if not await store.secret_rotation.has_keys():
            detail = "the database has no key yet: start the service once"
            raise CommandError("not_found", detail, exit_code=ExitCode.NOT_FOUND)
        yield store
    finally:
        await store.close()


async def _show_keys(output: options.Output, as_json: bool) -> None:
    source = key_source(command_settings())
    async with _beside(None) as store:
        used = {key.id: key for key in await store.secret_rotation.keys()}
    present = source.read(make=False).ids
    shown = [
        {
            "key": key_id,
            "present": key_id in present,
            "use": "none" if key_id not in used else "in force" if used[key_id].in_force else "former secrets",
        }
        for key_id in dict.fromkeys((*present, *used))
    ]
    lines = [f"{one['key']}  {one['use'] if one['present'] else 'missing'}" for one in shown]
    emit({"source": source.where, "keys": shown}, "\n".join((f"keys in {source.where}:", *lines)), output, as_json)


async def _rotate() -> None:
    source = key_source(command_settings())
    async with _beside(source) as store:
        rotation, used = store.secret_rotation, await store.secret_rotation.keys()
        newest = source.read(make=False).newest
        if [key.id for key in used] == [newest.id]:
            newest = new_key()
            if not isinstance(source, KeyFile):
                raise SecretsKeyUnusable(f"put a new key before the others in {source.where}, and repeat the command")
            source.add(newest)
        await rotation.begin(newest.id)
        done = await rotation.rewrap(newest.id)
        for sentence in done.damaged:
            say(f"warning: {sentence}", err=True)
        await rotation.end(newest.id)
    former = ", ".join(key.id for key in used if key.id != newest.id)
    say(f"{done.count} secrets have the key {newest.id} now; backups from before need {former}, kept in {source.where}")


async def _abandon(yes: bool) -> None:
    source = key_source(command_settings())
    async with _beside(None) as store:
        present = set(source.read(make=False).ids)
        keys = [key.id for key in await store.secret_rotation.keys() if key.id not in present]
        if not keys:
            say(f"no key is lost: {source.where} has all that the database uses")
            return
        lost = await store.secret_rotation.lost(keys)
        for kind, ids in (("cluster", lost.clusters), ("template", lost.templates), ("webhook", lost.webhooks)):
            for one in ids:
                say(f"{kind} {one}")
        if not yes:
            say("their key is lost: --yes deletes them; put the key back instead where there is a copy", err=True)
            return
        for template_id in lost.templates:
            await store.templates.retire(template_id)
        await store.secret_rotation.abandon(lost, keys)
    say(f"forgotten: {', '.join(keys)}; start the service")
