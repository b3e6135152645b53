"""Queries of clusters and events, and the creation of clusters for callers. Not here: updates (updates.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, func, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain.cluster.lifecycle import LIVING, Phase
from dayfly.domain.cluster.model import Cluster, Event, Purpose, StepReport
from dayfly.domain.quota import require_ttl
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.domain.security.principal import EVERYWHERE, Reference, Scope
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.errors import BadName, Internal, NameTaken
from dayfly.store import quota_checks
from dayfly.store.clusters.create import insert_cluster, new_cluster
from dayfly.store.clusters.pool_claims import member_pauses, members_left, take_member
from dayfly.store.clusters.service_clock import MeteredPart
from dayfly.store.commands import IdempotencyKey, NewCluster, Page
from dayfly.store.create_locks import lock_key_and_name
from dayfly.store.db import tables
from dayfly.store.db.cursors import cursor_of, older_than
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import cluster_from, event_from, step_from
from dayfly.store.db.secret_columns import OF_CLUSTERS
from dayfly.store.db.shared_queries import in_scope, named, only, query_named
from dayfly.store.db.tables import clusters
from dayfly.store.idempotency_keys import find_use, record_use
from dayfly.vocabulary import CLUSTER_NAME

# Built once, as are all statements of frequent requests: to build one takes longer than to execute it.
_STEPS: Final = (
    select(tables.steps).where(tables.steps.c.cluster_id == bindparam("cluster_id")).order_by(tables.steps.c.id)
)
_BY_ID: Final = select(clusters).where(clusters.c.id == bindparam("cluster_id"))
_ATTEMPTS: Final = 5
"""Attempts of a creation that conflicts with concurrent creations of the same key, name or id."""


class ClusterQueries(MeteredPart):
    async def create(self, new: NewCluster, key: IdempotencyKey | None = None) -> tuple[Cluster, bool]:
        """Create a cluster in the queue, or claim a matching pool member, which is ready: (cluster, whether it is new).

        While every matching member is locked or leased, waits up to pool_claims.WAIT_SECONDS for a member.
        A repeated `key` with the same fingerprint returns the cluster of the first request, as long as its row exists.
        Raises NameTaken, IdempotencyKeyReused, BadName, QuotaExceeded.
        """
        if new.name is not None and not CLUSTER_NAME.fullmatch(new.name):
            raise BadName(f"{new.name!r} is not a valid cluster name")
        pauses = member_pauses()
        for _ in range(_ATTEMPTS):
            try:
                return await self._create(new, key, pauses)
            except IntegrityError:
                continue  # another transaction committed the same key, name or id: the next attempt finds it
        raise Internal(f"the cluster was not recorded: its key, name or id was taken in each of {_ATTEMPTS} attempts")

    async def _create(
        self, new: NewCluster, key: IdempotencyKey | None, pauses: Iterator[float | None]
    ) -> tuple[Cluster, bool]:
        """As create_cluster. Raises IntegrityError where another transaction took the key, name or id first."""
        while True:
            pause = next(pauses)
            async with self._database.write(caller_waits=True) as transaction:
                await self._service_clock.settle(transaction)
                await lock_key_and_name(transaction, key, new.name and f"{new.owner} {new.name}")
                if key is not None and (old := await _find_by_idempotency_key(transaction.connection, key)):
                    return old, False
                if made := await _record(transaction, new, key, may_wait=pause is not None):
                    return made, True
            # Outside of the transaction, so that no lock is held while waiting.
            await asyncio.sleep(pause or 0.0)

    async def find_by_idempotency_key(self, key: IdempotencyKey) -> Cluster | None:
        """The cluster that an earlier request with this key created. Raises IdempotencyKeyReused."""
        async with self._database.read() as connection:
            return await _find_by_idempotency_key(connection, key)

    async def get(self, id_or_name: str | Reference) -> Cluster:
        """A name finds living clusters only, an id also deleted clusters. Raises NotFound."""
        return cluster_from(only(await self._rows(*query_named(id_or_name)), id_or_name, "cluster"))

    async def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Collection[Phase] = (),
        purposes: Collection[Purpose] = frozenset({Purpose.CLUSTER}),
        owner: str | None = None,
        name: str | None = None,
        scope: Scope = EVERYWHERE,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Clusters in `scope`, of `owner`, with `name` (None: any), all of `labels`, one of `phases` (empty: all but
        deleted) and one of `purposes`, newest first. Raises InvalidRequest for an invalid cursor.
        """
        newest_first = (clusters.c.created_at.desc(), clusters.c.id.desc())
        visible = in_scope(clusters.c.owner, scope)
        matching = and_(_in_phases(phases), clusters.c.purpose.in_(sorted(purposes)), *visible)
        query = select(clusters.c.id).where(matching).order_by(*newest_first).limit(limit + 1)
        if name is not None:
            query = query.where(clusters.c.name == name)
        if owner is not None:
            query = query.where(clusters.c.owner == owner)
        if labels:
            query = query.where(labelled(labels))
        if cursor is not None:
            query = query.where(older_than(cursor, clusters))
        # Ids first: sorting thousands of whole rows for a page is slow.
        whole_rows = select(clusters).where(clusters.c.id.in_(query)).order_by(*newest_first)
        rows = await self._rows(whole_rows)
        page = rows[:limit]
        more = len(rows) > limit
        return Page(tuple(map(cluster_from, page)), cursor_of(page[-1]) if more and page else None)

    async def steps(self, cluster_id: str) -> tuple[StepReport, ...]:
        """The latest report of each step, in the order of their begins."""
        return tuple(map(step_from, await self._rows(_STEPS, {"cluster_id": cluster_id})))

    async def events(self, cluster_id: str, *, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        """Events with an id greater than `after`, oldest first. Events of a cluster become visible in id order."""
        table = tables.events
        query = (
            select(table).where(table.c.cluster_id == cluster_id, table.c.id > after).order_by(table.c.id).limit(limit)
        )
        return tuple(map(event_from, await self._rows(query)))

    async def last_event(self, cluster_id: str, types: Collection[str] = ()) -> Event | None:
        """The latest event of these types (empty: of any type)."""
        table = tables.events
        query = select(table).where(table.c.cluster_id == cluster_id)
        if types:
            query = query.where(table.c.type.in_(sorted(types)))
        row = await self._row(query.order_by(table.c.id.desc()).limit(1))
        return None if row is None else event_from(row)

    async def secrets(self, cluster_id: str) -> ClusterSecrets | None:
        """The cluster's secrets; None before their creation and after the cluster's deletion.

        Raises SecretsKeyMissing, SecretDamaged.
        """
        query = select(tables.secrets.c.content).where(tables.secrets.c.cluster_id == cluster_id)
        row = await self._row(query)
        if row is None:
            return None
        text = self._database.secret_keys.open(row.content, OF_CLUSTERS.place(cluster_id))
        return ClusterSecrets.model_validate_json(text)

    async def evidence(self, cluster_id: str) -> Mapping[str, str]:
        """Evidence of a failure: short name → text."""
        table = tables.evidence
        query = select(table.c.name, table.c.content).where(table.c.cluster_id == cluster_id).order_by(table.c.name)
        return {row.name: row.content for row in await self._rows(query)}


async def _find_by_idempotency_key(connection: AsyncConnection, key: IdempotencyKey) -> Cluster | None:
    """Raises IdempotencyKeyReused."""
    if (use := await find_use(connection, key)) is None:
        return None
    row = (await connection.execute(_BY_ID, {"cluster_id": use.cluster_id})).one_or_none()
    return None if row is None else cluster_from(row)


async def _record(
    transaction: Transaction, new: NewCluster, key: IdempotencyKey | None, *, may_wait: bool
) -> Cluster | None:
    """As _insert_or_take, with the key recorded. Raises NameTaken, or IntegrityError on a conflict."""
    connection = transaction.connection
    if new.name is not None:
        taken = named(Reference(new.name, Scope(new.owner)))
        if (await connection.execute(select(clusters.c.id).where(taken))).first():
            raise NameTaken(f"a cluster named {new.name} exists")
    needs = demand(new.spec, memory_factor=1.0 if new.spec.isolation == "strict" else new.memory_factor)
    quota = await quota_checks.require(transaction, new.owner, quota_checks.cluster_wants(needs))
    require_ttl(new.owner, quota, new.spec.ttl_seconds)
    cluster = await _insert_or_take(transaction, new, needs, may_wait=may_wait)
    if cluster is not None:
        transaction.concerns("cluster", cluster.id, cluster.name)
        await record_use(transaction, key, cluster_id=cluster.id)
    return cluster


async def _insert_or_take(
    transaction: Transaction, new: NewCluster, needs: Resources, *, may_wait: bool
) -> Cluster | None:
    """A new cluster in the queue, or a matching pool member.

    None, with nothing written, only if `may_wait`: matching members exist, and each is locked or leased.
    """
    cluster = new_cluster(new.spec, transaction.now, name=new.name, owner=new.owner, hold=new.hold)
    # Of a member, the container for the network exists, and no port can be published on it any more.
    if new.spec.isolation == "strict" or new.spec.ports:
        await insert_cluster(transaction, cluster, needs=needs, principal=new.principal)
        return cluster
    left = members_left(new.spec, new.owner)
    if await insert_cluster(transaction, cluster, needs=needs, unless=left, principal=new.principal):
        return cluster
    if taken := await take_member(transaction, new):
        return taken
    # `left` is evaluated again: other transactions may have claimed the remaining members since.
    recorded = await insert_cluster(
        transaction, cluster, needs=needs, unless=left if may_wait else None, principal=new.principal
    )
    return cluster if recorded else None


def _in_phases(phases: Collection[Phase]) -> ColumnElement[bool]:
    matching = clusters.c.phase.in_(sorted(phases or LIVING))
    if Phase.DELETED in phases:
        return matching
    # LIVING is redundant here; it makes the database use the partial index.
    return and_(tables.LIVING, matching) if phases else tables.LIVING


def labelled(labels: Mapping[str, str]) -> ColumnElement[bool]:
    """Clusters that have all of `labels`. One subquery, however many labels there are."""
    table = tables.labels
    # Correlated: the scan stops at a full page, even if thousands of clusters have the labels.
    same = (table.c.cluster_id == clusters.c.id, tuple_(table.c.key, table.c.value).in_(sorted(labels.items())))
    return select(func.count()).where(*same).correlate(clusters).scalar_subquery() == len(labels)
