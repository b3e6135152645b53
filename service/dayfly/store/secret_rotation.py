"""Another key for all secrets, while services run; and the end of secrets whose key is lost.

A key is in force by the commit of `begin`: it waits for transactions that sealed with the former key, and no later
one does. So one pass over all rows finds everything. Not here: the file of keys (key_sources.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select, update

from dayfly.domain.security.envelope import Sealed
from dayfly.errors import Conflict, SecretDamaged
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.secret_columns import OF_CLUSTERS, OF_TEMPLATES, OF_WEBHOOKS, SECRET_COLUMNS, SecretColumn
from dayfly.store.db.secret_keys import IN_FORCE, secret_keys, used_keys
from dayfly.store.db.shared_queries import batches, remove_clusters
from dayfly.store.db.tables import clusters

_BATCH: Final = 100
"""Secrets in one transaction: on SQLite it blocks all other writers."""


@dataclass(frozen=True)
class UsedKey:
    """A key that secrets of the database may be encrypted with; new secrets are, if it is `in_force`."""

    id: str
    created_at: datetime
    in_force: bool


@dataclass(frozen=True)
class Rewrapped:
    """How many secrets have another key now, and the places of those that nobody can read."""

    count: int = 0
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class LostSecrets:
    """The owners of secrets that are encrypted with lost keys, by id."""

    clusters: tuple[str, ...]
    templates: tuple[str, ...]
    webhooks: tuple[str, ...]


class SecretRotation(StorePart):
    async def keys(self) -> tuple[UsedKey, ...]:
        """Oldest first."""
        rows = await self._rows(select(secret_keys).order_by(secret_keys.c.created_at, secret_keys.c.id))
        return tuple(UsedKey(row.id, row.created_at, row.in_force) for row in rows)

    async def has_keys(self) -> bool:
        """Whether a service with encrypted secrets has opened the database."""
        async with self._database.read() as connection:
            return bool(await used_keys(connection))

    async def begin(self, key_id: str) -> None:
        """Have all new secrets encrypted with this key, which all processes must have."""
        async with self._database.write() as transaction:
            every = select(secret_keys.c.id).order_by(secret_keys.c.id).with_for_update()
            known = set((await transaction.execute(every)).scalars())
            same = secret_keys.c.id == key_id
            await transaction.execute(update(secret_keys).where(~same).values(in_force=False))
            if key_id in known:
                await transaction.execute(update(secret_keys).where(same).values(in_force=True))
            else:
                row = {"id": key_id, "created_at": transaction.now, "in_force": True}
                await transaction.execute(insert(secret_keys).values(row))

    async def rewrap(self, key_id: str) -> Rewrapped:
        """Encrypt the data keys of all secrets with this key, which is in force.

        Raises Conflict where another rotation has begun, SecretsKeyMissing.
        """
        count, damaged = 0, list[str]()
        for column in SECRET_COLUMNS:
            last: str | None = ""
            while last is not None:
                async with self._database.write() as transaction:
                    await _require_in_force(transaction, key_id)
                    last, changed = await self._rewrap_some(transaction, column, last, key_id, damaged)
                    count += changed
        return Rewrapped(count, tuple(damaged))

    async def end(self, key_id: str) -> None:
        """No secret has another key than this one. Raises Conflict where another rotation has begun."""
        async with self._database.write() as transaction:
            await _require_in_force(transaction, key_id)
            await transaction.execute(delete(secret_keys).where(secret_keys.c.id != key_id))
        await self._database.erase_deleted()

    async def lost(self, key_ids: Collection[str]) -> LostSecrets:
        """What is encrypted with these keys."""
        found = [await self._with_keys(column, key_ids) for column in (OF_CLUSTERS, OF_TEMPLATES, OF_WEBHOOKS)]
        return LostSecrets(*found)

    async def abandon(self, lost: LostSecrets, key_ids: Collection[str]) -> None:
        """Forget these keys, delete what was encrypted with them, and have the clusters deleted."""
        async with self._database.write() as transaction:
            await remove_clusters(transaction, clusters.c.id.in_(lost.clusters))
            owners = ((OF_CLUSTERS, lost.clusters), (OF_TEMPLATES, lost.templates), (OF_WEBHOOKS, lost.webhooks))
            for column, ids in owners:
                for some in batches(ids):
                    await transaction.execute(delete(column.table).where(column.key.in_(some)))
            await transaction.execute(delete(secret_keys).where(secret_keys.c.id.in_(key_ids)))

    async def _rewrap_some(
        self, transaction: Transaction, column: SecretColumn, after: str, key_id: str, damaged: list[str]
    ) -> tuple[str | None, int]:
        """A batch of rows in the order of their keys: the last one, None at the end; how many were changed."""
        some = column.rows.where(column.key > after).order_by(column.key).limit(_BATCH)
        rows = (await transaction.execute(some.with_for_update(key_share=True))).all()
        count = 0
        for row in rows:
            if row.sealed.key_id == key_id:
                continue
            try:
                changed = self._rewrapped(row.sealed, column, row.row, key_id)
            except SecretDamaged as error:
                damaged.append(error.message)
                continue
            await transaction.execute(update(column.table).where(column.key == row.row).values({column.value: changed}))
            count += 1
        return (rows[-1].row if rows else None), count

    def _rewrapped(self, sealed: Sealed, column: SecretColumn, row: str, key_id: str) -> Sealed:
        if not sealed.key_id:
            raise SecretDamaged(f"{column.place(row)} is not encrypted")
        return self._database.secret_keys.rewrap(sealed, column.place(row), key_id)

    async def _with_keys(self, column: SecretColumn, key_ids: Collection[str]) -> tuple[str, ...]:
        rows = await self._rows(column.rows.order_by(column.key))
        return tuple(row.row for row in rows if row.sealed.key_id in key_ids)


async def _require_in_force(transaction: Transaction, key_id: str) -> None:
    if (await transaction.execute(IN_FORCE)).scalar() != key_id:
        raise Conflict("another rotation has begun: its key is in force now")
