"""`dayfly token reset-operator`: on the server, directly on its database. Imported only on a server."""

from __future__ import annotations

import asyncio

from dayfly.cli.server_settings import command_settings
from dayfly.cli.terminal import say
from dayfly.settings import Settings
from dayfly.store import Store


def reset_operator() -> None:
    say(asyncio.run(_reset(command_settings())))


async def _reset(settings: Settings) -> str:
    store = await Store.open(settings.database)
    try:
        return (await store.tokens.replace_first())[1]
    finally:
        await store.close()
