"""Locks on an idempotency key and on a cluster name, taken before any row is locked or written.

Two requests with the same key or name are decided here: the later request waits for the earlier transaction to end.
Without these locks the later creation of a cluster locks a pool member, waits at the unique index, and is rolled
back; meanwhile other requests find that member locked and get a cluster that has to be provisioned.
The unique indices remain the guarantee: an older Dayfly on the same database does not take these locks.
Not here: SQLite, where a transaction holds the only write lock from its beginning.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from sqlalchemy import Integer, bindparam, func, select

from dayfly.store.commands import IdempotencyKey
from dayfly.store.db.database import Transaction

_KEYS: Final = 0x6466_6B01
_NAMES: Final = 0x6466_6E01
_BAKES: Final = 0x6466_6201
_OPERATORS: Final = 0x6466_6F01
_WEBHOOKS: Final = 0x6466_7701
_QUOTAS: Final = 0x6466_7101
"""First keys of PostgreSQL's advisory locks with two keys; store/admission.py and store/db/migrate.py use locks with
one key.
"""
_LOCK: Final = select(func.pg_advisory_xact_lock(bindparam("kind", type_=Integer), bindparam("number", type_=Integer)))


async def lock_key_and_name(transaction: Transaction, key: IdempotencyKey | None, name: str | None) -> None:
    """Lock both until the transaction ends. The next statement sees all commits of the previous holder.

    The key comes first: a transaction that holds a name never waits for a key, so two transactions cannot deadlock.
    A request about a cluster holds the cluster's row before: no other holder of its key waits for that row.
    """
    locks = [(_KEYS, key.stored)] if key is not None else []
    locks += [(_NAMES, name)] if name is not None else []
    if transaction.connection.dialect.name == "postgresql":
        for kind, text in locks:
            await transaction.execute(_LOCK, {"kind": kind, "number": _number(text)})


async def lock_bakes(transaction: Transaction) -> None:
    """Lock the number of queued bakes, and of bakes on each host, until the transaction ends."""
    if transaction.connection.dialect.name == "postgresql":
        await transaction.execute(select(func.pg_advisory_xact_lock(_BAKES, 0)))


async def lock_operators(transaction: Transaction) -> None:
    """Lock the operator's first token, and the teams that a start makes, until the transaction ends."""
    if transaction.connection.dialect.name == "postgresql":
        await transaction.execute(select(func.pg_advisory_xact_lock(_OPERATORS, 0)))


async def lock_webhooks(transaction: Transaction, team: str | None = None) -> None:
    """Lock the number of a team's webhooks, or (None) of calls to each webhook, until the transaction ends."""
    if transaction.connection.dialect.name == "postgresql":
        number = 0 if team is None else _number(f"team {team}")
        await transaction.execute(select(func.pg_advisory_xact_lock(_WEBHOOKS, number)))


async def lock_quota(transaction: Transaction, team: str) -> None:
    """Lock what a team has, for a request that counts it, until the transaction ends. After the key and the name."""
    if transaction.connection.dialect.name == "postgresql":
        await transaction.execute(select(func.pg_advisory_xact_lock(_QUOTAS, _number(team))))


def _number(text: str) -> int:
    """A signed number of 32 bits. Transactions of two texts with the same number wait for each other; no harm."""
    return int.from_bytes(sha256(text.encode()).digest()[:4], signed=True)
