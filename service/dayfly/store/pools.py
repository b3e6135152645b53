"""Pools: what operators request, and how members come and go.

Not here: how a member becomes a caller's cluster (clusters/pool_claims.py), and how many members there should be
(domain/pool.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, null, or_, select, update
from sqlalchemy.exc import IntegrityError

from dayfly.domain.cluster.lifecycle import Desired
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Pool, PoolCondition
from dayfly.domain.scheduling.resources import demand
from dayfly.domain.security.principal import EVERYWHERE, Reference, Scope
from dayfly.errors import BadName, NameTaken
from dayfly.store import quota_checks
from dayfly.store.clusters.create import insert_cluster, own_cluster
from dayfly.store.commands import UNSET, IdempotencyKey, NewPool, PoolChange
from dayfly.store.db import ids as names
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import cluster_from, pool_columns, pool_from, reason_columns
from dayfly.store.db.shared_queries import batches, in_scope, only, remove_clusters
from dayfly.store.db.tables import clusters, pools
from dayfly.store.idempotency_keys import keep_use, record_use, require_new
from dayfly.store.notify.commit_notifier import QUEUE
from dayfly.store.quota_checks import pool_peak
from dayfly.vocabulary import CLUSTER_NAME

_MEMBER: Final = and_(tables.OF_POOLS, clusters.c.purpose == Purpose.POOL_MEMBER)
_ALL: Final = select(pools).order_by(pools.c.name, pools.c.owner)


class PoolQueries(StorePart):
    """Pools, and the creation and removal of their members."""

    async def create(self, new: NewPool, key: IdempotencyKey | None = None) -> Pool:
        """Raises BadName, NameTaken, QuotaExceeded, CarriedOut, IdempotencyKeyReused."""
        if not CLUSTER_NAME.fullmatch(new.name):
            raise BadName(f"{new.name!r} is not a valid pool name")
        try:
            async with self._database.write(caller_waits=True) as transaction:
                await require_new(transaction, key)
                pool = Pool(id=names.new_id(), created_at=transaction.now, **vars(new))
                await quota_checks.require(transaction, new.owner, {"pool_members": pool_peak(pool)})
                await transaction.execute(insert(pools).values(pool_columns(pool)))
                transaction.concerns("pool", pool.id, pool.name)
                await record_use(transaction, key, resource_id=pool.id)
                transaction.wake(QUEUE)
                return pool
        except IntegrityError as error:
            raise NameTaken(f"a pool named {new.name} exists") from error

    async def list(self, scope: Scope = EVERYWHERE) -> tuple[Pool, ...]:
        """All pools in `scope`, by name."""
        return tuple(map(pool_from, await self._rows(_ALL.where(*in_scope(pools.c.owner, scope)))))

    async def get(self, id_or_name: str | Reference) -> Pool:
        """Raises NotFound."""
        return pool_from(only(await self._rows(select(pools).where(_named(id_or_name))), id_or_name, "pool"))

    async def change(
        self, id_or_name: str | Reference, change: PoolChange, require: Callable[[Pool], None] = lambda _: None
    ) -> Pool:
        """Update the pool. `require` gets the pool before, and raises an error to reject it.

        Raises NotFound, QuotaExceeded.
        """
        async with self._database.write(caller_waits=True) as transaction:
            old = pool_from(await _lock(transaction, _named(id_or_name), id_or_name))
            require(old)
            given = {name: value for name, value in vars(change).items() if value is not UNSET}
            new = replace(old, **given)
            more = pool_peak(new) - pool_peak(old)
            await quota_checks.require(transaction, new.owner, {"pool_members": more} if more > 0 else {})
            changed = update(pools).where(pools.c.id == old.id).values(pool_columns(new))
            await transaction.execute(changed)
            transaction.wake(QUEUE)
            return new

    async def delete(self, id_or_name: str | Reference) -> Pool:
        """Delete the pool's record, and request the deletion of its members. Raises NotFound."""
        async with self._database.write(caller_waits=True) as transaction:
            pool = pool_from(await _lock(transaction, _named(id_or_name), id_or_name))
            await remove_clusters(transaction, and_(_MEMBER, clusters.c.pool_id == pool.id))
            await transaction.execute(delete(pools).where(pools.c.id == pool.id))
            await keep_use(transaction, pool.id)
            transaction.wake(QUEUE)
            return pool

    async def members(self, pool_id: str) -> tuple[Cluster, ...]:
        """Unclaimed members that are not deleted, oldest first; members under removal are included."""
        query = select(clusters).where(_MEMBER, clusters.c.pool_id == pool_id)
        rows = await self._rows(query.order_by(clusters.c.created_at, clusters.c.id))
        return tuple(map(cluster_from, rows))

    async def set_condition(self, pool_id: str, condition: PoolCondition | None) -> bool:
        """Record why the pool is not filled; whether that is new. Nothing for a deleted pool. Wakes no worker."""
        new = None if condition is None else reason_columns(condition)
        async with self._database.write() as transaction:
            row = (await transaction.execute(select(pools.c.waiting).where(pools.c.id == pool_id))).one_or_none()
            if row is None or row.waiting == new:
                return False
            values = {"waiting": null() if new is None else new}
            await transaction.execute(update(pools).where(pools.c.id == pool_id).values(values))
            return True

    async def refill(self, pool_id: str, desired_size: int, spec: ClusterSpec, *, memory_factor: float = 1.0) -> int:
        """Create members of `spec` until the pool has `desired_size` members; the number created.

        The pool's row lock serialises refills over all processes. A failed member counts until it is removed.
        Raises NotFound.
        """
        async with self._database.write() as transaction:
            pool = pool_from(await _lock(transaction, pools.c.id == pool_id, pool_id))
            staying = (_MEMBER, clusters.c.pool_id == pool_id, clusters.c.desired == Desired.PRESENT)
            there: int = (
                await transaction.execute(select(func.count()).select_from(clusters).where(*staying))
            ).scalar_one()
            needs = demand(spec, memory_factor=memory_factor)
            for _ in range(there, desired_size):
                member = own_cluster(
                    spec, transaction.now, owner=pool.owner, purpose=Purpose.POOL_MEMBER, pool_id=pool.id
                )
                await insert_cluster(transaction, member, needs=needs)
            return max(0, desired_size - there)

    async def remove_members(self, cluster_ids: Collection[str]) -> int:
        """Request the deletion of these members; how many. Members that a caller has claimed are skipped."""
        count = 0
        async with self._database.write() as transaction:
            for ids in batches(cluster_ids):
                count += await remove_clusters(transaction, and_(_MEMBER, clusters.c.id.in_(ids)))
        return count


async def _lock(transaction: Transaction, which: ColumnElement[bool], id_or_name: str | Reference) -> Row[Any]:
    """Raises NotFound."""
    query = select(pools).where(which).order_by(pools.c.id).with_for_update()
    row = only((await transaction.execute(query)).all(), id_or_name, "pool")
    transaction.concerns("pool", row.id, row.name)
    return row


def _named(id_or_name: str | Reference) -> ColumnElement[bool]:
    which = Reference.of(id_or_name)
    return and_(or_(pools.c.id == which.text, pools.c.name == which.text), *in_scope(pools.c.owner, which.scope))
