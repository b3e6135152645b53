"""Idempotency keys: which requests were carried out, each once, and what they created or changed.

A request's key is recorded in the transaction that carries the request out. Not here: locks (create_locks.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, String, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.errors import IdempotencyKeyReused
from dayfly.store.commands import CarriedOut, IdempotencyKey, KeyUse
from dayfly.store.create_locks import lock_key_and_name
from dayfly.store.db.access_tables import teams, tokens
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.tables import bakes, clusters, idempotency_keys, pools, templates
from dayfly.store.db.webhook_tables import webhook_deliveries, webhooks

_KEYS: Final = idempotency_keys.c
_STORED: Final = bindparam("stored", type_=String)
# Older releases stored the key without its owner.
_FIND: Final = (
    select(idempotency_keys)
    .outerjoin_from(idempotency_keys, clusters)
    .where(
        _KEYS.key.in_([_STORED, bindparam("given", type_=String)]),
        or_(_KEYS.key == _STORED, clusters.c.owner == bindparam("team", type_=String)),
    )
)
_NEW: Final = insert(idempotency_keys)


class IdempotencyKeys(StorePart):
    async def require_new(self, key: IdempotencyKey | None) -> None:
        """For a request whose checks come before its transaction. Raises CarriedOut, IdempotencyKeyReused."""
        if key is not None:
            async with self._database.read() as connection:
                await _require_new(connection, key)


async def require_new(transaction: Transaction, key: IdempotencyKey | None) -> None:
    """Wait for other requests with this key to end. Raises CarriedOut, IdempotencyKeyReused."""
    if key is not None:
        await lock_key_and_name(transaction, key, None)
        await _require_new(transaction.connection, key)


async def find_use(connection: AsyncConnection, key: IdempotencyKey) -> KeyUse | None:
    """The earlier request with this key. Raises IdempotencyKeyReused."""
    row = (await connection.execute(_FIND, {"stored": key.stored, "given": key.key, "team": key.owner})).first()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("this idempotency key was used for a request with another body: use a new key")
    return KeyUse(row.created_at, row.cluster_id, row.resource_id)


async def record_use(
    transaction: Transaction,
    key: IdempotencyKey | None,
    *,
    cluster_id: str | None = None,
    resource_id: str | None = None,
) -> None:
    """Record the request of this transaction: what it created or changed."""
    if key is not None:
        used = {"key": key.stored, "fingerprint": key.fingerprint, "created_at": transaction.now}
        await transaction.execute(_NEW, {**used, "cluster_id": cluster_id, "resource_id": resource_id})


async def use_on_cluster(transaction: Transaction, key: IdempotencyKey | None, row: Row[Any]) -> None:
    """Record a request about the cluster of `row`, which is locked. Raises CarriedOut, IdempotencyKeyReused."""
    if key is not None:
        of_cluster = key.of_cluster(row.id, row.owner)
        await require_new(transaction, of_cluster)
        await record_use(transaction, of_cluster, cluster_id=row.id)


async def keep_use(transaction: Transaction, pool_id: str) -> None:
    """Count a key's age from now: a deleted pool leaves no record, and its key stays as long as a deleted cluster's."""
    of_pool = (idempotency_keys.c.cluster_id.is_(None), idempotency_keys.c.resource_id == pool_id)
    await transaction.execute(update(idempotency_keys).where(*of_pool).values(created_at=transaction.now))


async def purge_uses(transaction: Transaction, before: datetime) -> None:
    """Remove keys from before that time whose pool, template, bake, team, token, webhook or delivery has no record.

    A cluster's keys go with its row.
    """
    keys = idempotency_keys.c
    others = (templates, bakes, teams, tokens, webhooks, webhook_deliveries)
    recorded = select(pools.c.id).union_all(*(select(table.c.id) for table in others))
    gone = (keys.cluster_id.is_(None), keys.created_at < before, keys.resource_id.not_in(recorded))
    await transaction.execute(delete(idempotency_keys).where(*gone))


async def _require_new(connection: AsyncConnection, key: IdempotencyKey) -> None:
    if (use := await find_use(connection, key)) is not None:
        raise CarriedOut(use)
