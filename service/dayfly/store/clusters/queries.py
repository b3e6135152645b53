"""Queries of clusters and events, and the creation of clusters for callers. Not here: updates (updates.py)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, exists, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.lifecycle import LIVING, Phase
from dayfly.domain.cluster.model import Cluster, Event, Purpose, StepReport
from dayfly.domain.scheduling.resources import demand
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.errors import BadName, IdempotencyKeyReused, Internal, InvalidRequest, NameTaken
from dayfly.store.clusters.create import insert_cluster, new_cluster
from dayfly.store.clusters.create_locks import lock_key_and_name
from dayfly.store.clusters.pool_claims import member_pauses, members_left, take_member
from dayfly.store.commands import IdempotencyKey, NewCluster, Page
from dayfly.store.db import tables
from dayfly.store.db.database import Database, Transaction
from dayfly.store.db.mapping import cluster_from, event_from, step_from
from dayfly.store.db.shared_queries import named, not_found
from dayfly.store.db.tables import clusters
from dayfly.vocabulary import CLUSTER_NAME

_ATTEMPTS: Final = 5
"""How often a creation looks again that met another one half-way: its key, name or id was free a moment ago."""


class ClusterQueries:
    """What callers want, and what they may know."""

    _database: Database

    @uncancellable
    async def create_cluster(self, new: NewCluster, key: IdempotencyKey | None = None) -> tuple[Cluster, bool]:
        """Record the wish for a cluster, which then waits to be admitted: (cluster, whether it is new).

        Where a pool's member waits for such a wish, the cluster is that member, ready (pool_claims.py). Where each such
        member is locked or leased at this moment, one is waited for, for at most members.WAIT_SECONDS.
        A key that was seen with the same fingerprint gives the cluster it made then; keys live as long as that row.
        Raises NameTaken, IdempotencyKeyReused, BadName.
        """
        if new.name is not None and not CLUSTER_NAME.fullmatch(new.name):
            raise BadName(f"{new.name!r} is no cluster name")
        pauses = member_pauses()
        for _ in range(_ATTEMPTS):
            try:
                return await self._create(new, key, pauses)
            except IntegrityError:
                continue  # a row of the same key, name or id was committed meanwhile: the next look sees it
        raise Internal("a cluster could not be recorded: its key, name or id was taken time and again")

    async def _create(
        self, new: NewCluster, key: IdempotencyKey | None, pauses: Iterator[float | None]
    ) -> tuple[Cluster, bool]:
        """As create_cluster. Raises IntegrityError when another transaction was faster."""
        while True:
            pause = next(pauses)
            async with self._database.write() as transaction:
                await lock_key_and_name(transaction, key, new.name)
                if key is not None and (old := await _find_by_idempotency_key(transaction.connection, key)):
                    return old, False
                if made := await _record(transaction, new, key, may_wait=pause is not None):
                    return made, True
            # Outside of the transaction: nothing is locked meanwhile, so no deadlock is possible.
            await asyncio.sleep(pause or 0.0)

    @uncancellable
    async def find_by_idempotency_key(self, key: IdempotencyKey) -> Cluster | None:
        """The cluster that this key made before, if any. Raises IdempotencyKeyReused."""
        async with self._database.read() as connection:
            return await _find_by_idempotency_key(connection, key)

    @uncancellable
    async def get_cluster(self, id_or_name: str) -> Cluster:
        """By name the living one; by id a deleted one too. Raises NotFound."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(clusters).where(named(id_or_name)))).one_or_none()
        if row is None:
            raise not_found(id_or_name)
        return cluster_from(row)

    @uncancellable
    async def list_clusters(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Collection[Phase] = (),
        purposes: Collection[Purpose] = frozenset({Purpose.CLUSTER}),
        owner: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Clusters of `owner` (None: of all) with all of `labels` and one of `phases` (none: all but deleted).

        Of `purposes`; newest first. Raises InvalidRequest for a cursor that no page gave.
        """
        newest_first = (clusters.c.created_at.desc(), clusters.c.id.desc())
        wanted = and_(_in_phases(phases), clusters.c.purpose.in_(sorted(purposes)))
        query = select(clusters.c.id).where(wanted).order_by(*newest_first).limit(limit + 1)
        if owner is not None:
            query = query.where(clusters.c.owner == owner)
        for name, value in (labels or {}).items():
            query = query.where(_labelled(name, value))
        if cursor is not None:
            query = query.where(_after(cursor))
        # Ids first: where thousands have to be sorted for a page, their whole rows need not be.
        whole_rows = select(clusters).where(clusters.c.id.in_(query)).order_by(*newest_first)
        async with self._database.read() as connection:
            rows = (await connection.execute(whole_rows)).all()
        page = rows[:limit]
        more = len(rows) > limit
        return Page(tuple(map(cluster_from, page)), _cursor(page[-1]) if more and page else None)

    @uncancellable
    async def steps(self, cluster_id: str) -> tuple[StepReport, ...]:
        """How each step stands, in the order in which they began."""
        query = select(tables.steps).where(tables.steps.c.cluster_id == cluster_id).order_by(tables.steps.c.id)
        async with self._database.read() as connection:
            return tuple(map(step_from, await connection.execute(query)))

    @uncancellable
    async def events(self, cluster_id: str, *, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        """What happened since event `after`, oldest first. Ids of one cluster become visible in their order."""
        table = tables.events
        query = (
            select(table).where(table.c.cluster_id == cluster_id, table.c.id > after).order_by(table.c.id).limit(limit)
        )
        async with self._database.read() as connection:
            return tuple(map(event_from, await connection.execute(query)))

    @uncancellable
    async def last_event(self, cluster_id: str, types: Collection[str] = ()) -> Event | None:
        """The latest of these types (none: of all)."""
        table = tables.events
        query = select(table).where(table.c.cluster_id == cluster_id)
        if types:
            query = query.where(table.c.type.in_(sorted(types)))
        async with self._database.read() as connection:
            row = (await connection.execute(query.order_by(table.c.id.desc()).limit(1))).one_or_none()
        return None if row is None else event_from(row)

    @uncancellable
    async def secrets(self, cluster_id: str) -> ClusterSecrets | None:
        """The cluster's secrets; None before they are made and after it is deleted."""
        query = select(tables.secrets.c.content).where(tables.secrets.c.cluster_id == cluster_id)
        async with self._database.read() as connection:
            content = (await connection.execute(query)).scalar_one_or_none()
        return None if content is None else ClusterSecrets.model_validate(content)

    @uncancellable
    async def evidence(self, cluster_id: str) -> Mapping[str, str]:
        """What was kept of a failure: short name → text."""
        table = tables.evidence
        query = select(table.c.name, table.c.content).where(table.c.cluster_id == cluster_id).order_by(table.c.name)
        async with self._database.read() as connection:
            return {row.name: row.content for row in await connection.execute(query)}


async def _find_by_idempotency_key(connection: AsyncConnection, key: IdempotencyKey) -> Cluster | None:
    """The cluster that this key made. Raises IdempotencyKeyReused."""
    keys = tables.idempotency_keys
    query = select(keys.c.fingerprint, clusters).join_from(keys, clusters).where(keys.c.key == key.key)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("this idempotency key was used for another request")
    return cluster_from(row)


async def _record(
    transaction: Transaction, new: NewCluster, key: IdempotencyKey | None, *, may_wait: bool
) -> Cluster | None:
    """As _insert_or_take. Raises NameTaken, or IntegrityError when another transaction was faster."""
    connection = transaction.connection
    if new.name is not None and (await connection.execute(select(clusters.c.id).where(named(new.name)))).first():
        raise NameTaken(f"a cluster named {new.name} exists")
    cluster = await _insert_or_take(transaction, new, may_wait=may_wait)
    if cluster is not None and key is not None:
        used = {"key": key.key, "fingerprint": key.fingerprint, "cluster_id": cluster.id, "created_at": transaction.now}
        await connection.execute(insert(tables.idempotency_keys).values(used))
    return cluster


async def _insert_or_take(transaction: Transaction, new: NewCluster, *, may_wait: bool) -> Cluster | None:
    """A new cluster in the queue, or a pool's member that waits for such a wish.

    None, with nothing written, only if `may_wait`: there are such members, and each is locked or leased.
    """
    cluster = new_cluster(new.spec, transaction.now, name=new.name, owner=new.owner, hold=new.hold)
    if new.spec.isolation == "strict":
        await insert_cluster(transaction, cluster)
        return cluster
    needs = demand(new.spec, memory_factor=new.memory_factor)
    left = members_left(new.spec, new.owner)
    if await insert_cluster(transaction, cluster, needs=needs, unless=left):
        return cluster
    if taken := await take_member(transaction, new):
        return taken
    # Asked again: the members that were left may have been claimed by transactions that have committed since.
    recorded = await insert_cluster(transaction, cluster, needs=needs, unless=left if may_wait else None)
    return cluster if recorded else None


def _in_phases(phases: Collection[Phase]) -> ColumnElement[bool]:
    wanted = clusters.c.phase.in_(sorted(phases or LIVING))
    if Phase.DELETED in phases:
        return wanted
    # Said twice where it is true of all that is wanted, for the index of the living.
    return and_(tables.LIVING, wanted) if phases else tables.LIVING


def _labelled(key: str, value: str) -> ColumnElement[bool]:
    labels = tables.labels
    # Asked of one cluster after the other, so that a page of a label that thousands have is soon full.
    same = (labels.c.cluster_id == clusters.c.id, labels.c.key == key, labels.c.value == value)
    return exists().where(*same).correlate(clusters)


def _cursor(row: Row[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def _after(cursor: str) -> ColumnElement[bool]:
    """Those that a page ending at `cursor` did not come to."""
    try:
        created, cluster_id = json.loads(base64.urlsafe_b64decode(cursor))
        created_at = datetime.fromisoformat(created)
        valid = created_at.tzinfo is not None and isinstance(cluster_id, str) and cluster_id.isalnum()
        created_at = created_at.astimezone(UTC)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        valid = False
    if not valid:
        raise InvalidRequest("the cursor is none that a page gave")
    older = clusters.c.created_at < created_at
    return or_(older, and_(clusters.c.created_at == created_at, clusters.c.id < cluster_id))
