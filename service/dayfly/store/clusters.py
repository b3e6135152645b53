"""The API's half of the store: it writes wishes, and reads all. Not here: phases and reports (leases.py)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.concurrency import whole
from dayfly.domain.cluster import Cluster, Event, StepReport
from dayfly.domain.lifecycle import LIVING, Desired, Phase
from dayfly.domain.naming import CLUSTER_NAME
from dayfly.domain.secrets import ClusterSecrets
from dayfly.errors import BadName, IdempotencyKeyReused, Internal, InvalidRequest, NameTaken, NotFound
from dayfly.store import names, tables
from dayfly.store.database import Database, Transaction
from dayfly.store.rows import cluster_from, event_from, step_from
from dayfly.store.tables import clusters
from dayfly.store.values import IdempotencyKey, NewCluster, Page

_ATTEMPTS: Final = 5
"""How often a creation looks again that met another one half-way: its key, name or id was free a moment ago."""


class Clusters:
    """What callers want, and what they may know."""

    _database: Database

    @whole
    async def create_cluster(self, new: NewCluster, key: IdempotencyKey | None = None) -> tuple[Cluster, bool]:
        """Record the wish for a cluster, due at once: (cluster, whether it is new).

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
            row = (await connection.execute(select(clusters).where(_named(id_or_name)))).one_or_none()
        if row is None:
            raise _not_found(id_or_name)
        return cluster_from(row)

    @whole
    async def list_clusters(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Collection[Phase] = (),
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Clusters with all of `labels` and one of `phases` (none: all but deleted), newest first.

        Raises InvalidRequest for a cursor that no page gave.
        """
        query = (
            select(clusters)
            .where(clusters.c.phase.in_(sorted(phases or LIVING)))
            .order_by(clusters.c.created_at.desc(), clusters.c.id.desc())
            .limit(limit + 1)
        )
        for name, value in (labels or {}).items():
            query = query.where(_labelled(name, value))
        if cursor is not None:
            query = query.where(_after(cursor))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        page = rows[:limit]
        more = len(rows) > limit
        return Page(tuple(map(cluster_from, page)), _cursor(page[-1]) if more and page else None)

    @whole
    async def request_deletion(self, id_or_name: str) -> Cluster:
        """Record the wish that a cluster be gone, due at once. May be repeated. Raises NotFound."""
        async with self._database.write() as transaction:
            connection = transaction.connection
            query = select(clusters).where(_named(id_or_name)).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise _not_found(id_or_name)
            if row.phase == Phase.DELETED or row.desired == Desired.ABSENT:
                return cluster_from(row)
            wish = {
                "desired": Desired.ABSENT,
                "due_at": transaction.now,
                "updated_at": transaction.now,
            }
            statement = update(clusters).where(clusters.c.id == row.id).values(wish).returning(clusters)
            changed = (await connection.execute(statement)).one()
            await transaction.touch(row.id)
            return cluster_from(changed)

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
    connection, now, cluster_id = transaction.connection, transaction.now, names.new_id()
    name = new.name or names.new_name()
    if new.name is not None and (await connection.execute(select(clusters.c.id).where(_named(name)))).first():
        raise NameTaken(f"a cluster named {name} exists")
    values = {
        "id": cluster_id,
        "name": name,
        "spec": new.spec.model_dump(mode="json"),
        "desired": Desired.PRESENT,
        "phase": Phase.PENDING,
        "generation": 1,
        "endpoints": {},
        "created_at": now,
        "updated_at": now,
        "expires_at": None if new.ttl_seconds is None else now + timedelta(seconds=new.ttl_seconds),
        "due_at": now,
    }
    row = (await connection.execute(insert(clusters).values(values).returning(clusters))).one()
    if new.spec.labels:
        pairs = [{"cluster_id": cluster_id, "key": k, "value": v} for k, v in new.spec.labels.items()]
        await connection.execute(insert(tables.labels), pairs)
    if key is not None:
        used = {"key": key.key, "fingerprint": key.fingerprint, "cluster_id": cluster_id, "created_at": now}
        await connection.execute(insert(tables.idempotency_keys).values(used))
    await transaction.touch(cluster_id)
    return cluster_from(row)


def _named(id_or_name: str) -> ColumnElement[bool]:
    if names.is_id(id_or_name):
        return clusters.c.id == id_or_name
    return and_(clusters.c.name == id_or_name, clusters.c.phase != Phase.DELETED)


def _labelled(key: str, value: str) -> ColumnElement[bool]:
    labels = tables.labels
    return exists().where(labels.c.cluster_id == clusters.c.id, labels.c.key == key, labels.c.value == value)


def _not_found(id_or_name: str) -> NotFound:
    return NotFound(f"no cluster {id_or_name}")


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
