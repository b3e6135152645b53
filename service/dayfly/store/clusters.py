"""The API's half of the store: new wishes, and all that can be read. Not here: changes of a wish (changes.py)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, exists, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.concurrency import whole
from dayfly.domain.capacity import demand
from dayfly.domain.cluster import Cluster, Event, StepReport
from dayfly.domain.expiry import expiry
from dayfly.domain.lifecycle import LIVING, Desired, Phase
from dayfly.domain.naming import CLUSTER_NAME
from dayfly.domain.secrets import ClusterSecrets
from dayfly.errors import BadName, IdempotencyKeyReused, Internal, InvalidRequest, NameTaken
from dayfly.store import due, names, tables
from dayfly.store.database import Database, Transaction
from dayfly.store.rows import cluster_from, event_from, hold_columns, needs_columns, step_from
from dayfly.store.statements import named, not_found
from dayfly.store.tables import clusters
from dayfly.store.values import IdempotencyKey, NewCluster, Page
from dayfly.store.wakeups import QUEUE

_ATTEMPTS: Final = 5
"""How often a creation looks again that met another one half-way: its key, name or id was free a moment ago."""


class Clusters:
    """What callers want, and what they may know."""

    _database: Database

    @whole
    async def create_cluster(self, new: NewCluster, key: IdempotencyKey | None = None) -> tuple[Cluster, bool]:
        """Record the wish for a cluster, which then waits to be admitted: (cluster, whether it is new).

        A key that was seen with the same fingerprint gives the cluster it made then; keys live as long as that row.
        Raises NameTaken, IdempotencyKeyReused, BadName.
        """
        if new.name is not None and not CLUSTER_NAME.fullmatch(new.name):
            raise BadName(f"{new.name!r} is no cluster name")
        for _ in range(_ATTEMPTS):
            try:
                async with self._database.write() as transaction:
                    if key is not None and (old := await _made_with(transaction.connection, key)):
                        return old, False
                    return await _insert(transaction, new, key), True
            except IntegrityError:
                continue  # a row of the same key, name or id was committed meanwhile: the next look sees it
        raise Internal("a cluster could not be recorded: its key, name or id was taken time and again")

    @whole
    async def made_with(self, key: IdempotencyKey) -> Cluster | None:
        """The cluster that this key made before, if any. Raises IdempotencyKeyReused."""
        async with self._database.read() as connection:
            return await _made_with(connection, key)

    @whole
    async def get_cluster(self, id_or_name: str) -> Cluster:
        """By name the living one; by id a deleted one too. Raises NotFound."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(clusters).where(named(id_or_name)))).one_or_none()
        if row is None:
            raise not_found(id_or_name)
        return cluster_from(row)

    @whole
    async def list_clusters(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Collection[Phase] = (),
        owner: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Clusters of `owner` (None: of all) with all of `labels` and one of `phases` (none: all but deleted).

        Newest first. Raises InvalidRequest for a cursor that no page gave.
        """
        newest_first = (clusters.c.created_at.desc(), clusters.c.id.desc())
        query = select(clusters.c.id).where(_in_phases(phases)).order_by(*newest_first).limit(limit + 1)
        if owner is not None:
            query = query.where(clusters.c.owner == owner)
        for name, value in (labels or {}).items():
            query = query.where(_labelled(name, value))
        if cursor is not None:
            query = query.where(_after(cursor))
        # Ids first: where thousands have to be sorted for a page, their whole rows need not be.
        wanted = select(clusters).where(clusters.c.id.in_(query)).order_by(*newest_first)
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted)).all()
        page = rows[:limit]
        more = len(rows) > limit
        return Page(tuple(map(cluster_from, page)), _cursor(page[-1]) if more and page else None)

    @whole
    async def steps(self, cluster_id: str) -> tuple[StepReport, ...]:
        """How each step stands, in the order in which they began."""
        query = select(tables.steps).where(tables.steps.c.cluster_id == cluster_id).order_by(tables.steps.c.id)
        async with self._database.read() as connection:
            return tuple(map(step_from, await connection.execute(query)))

    @whole
    async def events(self, cluster_id: str, *, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        """What happened since event `after`, oldest first. Ids of one cluster become visible in their order."""
        table = tables.events
        query = (
            select(table).where(table.c.cluster_id == cluster_id, table.c.id > after).order_by(table.c.id).limit(limit)
        )
        async with self._database.read() as connection:
            return tuple(map(event_from, await connection.execute(query)))

    @whole
    async def secrets(self, cluster_id: str) -> ClusterSecrets | None:
        """The cluster's secrets; None before they are made and after it is deleted."""
        query = select(tables.secrets.c.content).where(tables.secrets.c.cluster_id == cluster_id)
        async with self._database.read() as connection:
            content = (await connection.execute(query)).scalar_one_or_none()
        return None if content is None else ClusterSecrets.model_validate(content)

    @whole
    async def evidence(self, cluster_id: str) -> Mapping[str, str]:
        """What was kept of a failure: short name → text."""
        table = tables.evidence
        query = select(table.c.name, table.c.content).where(table.c.cluster_id == cluster_id).order_by(table.c.name)
        async with self._database.read() as connection:
            return {row.name: row.content for row in await connection.execute(query)}


async def _made_with(connection: AsyncConnection, key: IdempotencyKey) -> Cluster | None:
    """The cluster that this key made. Raises IdempotencyKeyReused."""
    keys = tables.idempotency_keys
    query = select(keys.c.fingerprint, clusters).join_from(keys, clusters).where(keys.c.key == key.key)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused("this idempotency key was used for another request")
    return cluster_from(row)


async def _insert(transaction: Transaction, new: NewCluster, key: IdempotencyKey | None) -> Cluster:
    """Raises NameTaken, or IntegrityError when another transaction was faster."""
    connection, cluster = transaction.connection, _new(new, transaction.now)
    if new.name is not None and (await connection.execute(select(clusters.c.id).where(named(new.name)))).first():
        raise NameTaken(f"a cluster named {new.name} exists")
    await connection.execute(insert(clusters).values(_columns(cluster)))
    if new.spec.labels:
        pairs = [{"cluster_id": cluster.id, "key": k, "value": v} for k, v in new.spec.labels.items()]
        await connection.execute(insert(tables.labels), pairs)
    if key is not None:
        used = {"key": key.key, "fingerprint": key.fingerprint, "cluster_id": cluster.id, "created_at": transaction.now}
        await connection.execute(insert(tables.idempotency_keys).values(used))
    transaction.touch(cluster.id)
    transaction.wake(QUEUE)
    return cluster


def _new(new: NewCluster, now: datetime) -> Cluster:
    cluster = Cluster(
        id=names.new_id(),
        name=new.name or names.new_name(),
        spec=new.spec,
        desired=Desired.PRESENT,
        phase=Phase.PENDING,
        created_at=now,
        updated_at=now,
        owner=new.owner,
        heartbeat_at=None if new.spec.heartbeat_interval_seconds is None else now,
        hold=new.hold,
    )
    end = expiry(cluster)
    return replace(cluster, expires_at=end.at if end else None)


def _columns(cluster: Cluster) -> dict[str, Any]:
    """A new cluster's row."""
    return {
        "id": cluster.id,
        "name": cluster.name,
        "spec": cluster.spec.model_dump(mode="json"),
        "desired": cluster.desired,
        "phase": cluster.phase,
        "generation": cluster.generation,
        "endpoints": {},
        "created_at": cluster.created_at,
        "updated_at": cluster.updated_at,
        "owner": cluster.owner,
        "heartbeat_at": cluster.heartbeat_at,
        "expires_at": cluster.expires_at,
        "due_at": due.look(cluster, cluster.created_at),
        **hold_columns(cluster.hold),
        **needs_columns(demand(cluster.spec)),
    }


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
        valid = created_at.tzinfo is not None and isinstance(cluster_id, str)
    except (binascii.Error, ValueError, TypeError):
        valid = False
    if not valid:
        raise InvalidRequest("the cursor is none that a page gave")
    older = clusters.c.created_at < created_at
    return or_(older, and_(clusters.c.created_at == created_at, clusters.c.id < cluster_id))
