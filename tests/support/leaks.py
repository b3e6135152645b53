"""Looks for the secrets of a run in what the run left behind: rows of the database, logs, answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Table, select

from dayfly.store import Store
from dayfly.store.db.tables import metadata

KEEPERS: Final = frozenset({"secrets", "template_secrets"})
"""The tables that have secrets."""
_SHORTEST: Final = 12
_PUBLIC: Final = ("-----", "ssh-ed25519 ")


async def kept_secrets(store: Store) -> frozenset[str]:
    """Every line of the secrets of all clusters and templates on record, but what is public in them."""
    found: set[str] = set()
    for name in KEEPERS:
        table = metadata.tables[name]
        async with store._database.read() as connection:
            for content in (await connection.execute(select(table.c.content))).scalars():
                found.update(_lines(content))
    return frozenset(found)


async def stored_rows(store: Store, tables: Iterable[str] | None = None) -> str:
    """All rows of the tables (None: of all but KEEPERS) as one text."""
    chosen: Iterable[Table] = (
        [metadata.tables[name] for name in tables]
        if tables is not None
        else [table for table in metadata.sorted_tables if table.name not in KEEPERS]
    )
    texts = []
    for table in chosen:
        async with store._database.read() as connection:
            texts += [repr(tuple(row)) for row in await connection.execute(select(table))]
    return "\n".join(texts)


def leaked(secrets: Iterable[str], *texts: str) -> list[str]:
    """The secrets that one of the texts has."""
    return sorted(secret for secret in secrets if any(secret in text for text in texts))


def _lines(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lines(inner, str(key))
    elif isinstance(value, str) and name != "public" and not name.endswith((".crt", ".pub")):
        for line in value.splitlines():
            if len(line) >= _SHORTEST and not line.startswith(_PUBLIC):
                yield line
