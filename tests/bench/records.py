"""Clusters written directly into the tables, thousands in a moment, for benchmarks of queries.

Not here: clusters that a worker creates (creation.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, text

from dayfly.domain.cluster.expiry import expiry, next_look
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Endpoint
from dayfly.domain.scheduling.resources import demand
from dayfly.store import Store
from dayfly.store.db import tables
from dayfly.store.db.mapping import needs_columns
from tests.support.specs import make_spec

OWNERS = 20
TEAMS = 100
_TTL_SECONDS = 24 * 3600
_BATCH = 500
_STAGES = {
    Phase.PENDING: ("created_at",),
    Phase.READY: ("created_at", "admitted_at", "ready_at"),
    Phase.FAILED: ("created_at", "admitted_at", "failed_at"),
    Phase.DELETED: ("created_at", "admitted_at", "ready_at", "deleted_at"),
}


def cluster(number: int, phase: Phase = Phase.READY) -> Cluster:
    """The cluster `number`, a second younger than the cluster before; every second cluster has the label `env=ci`."""
    labels = {"team": f"t{number % TEAMS}", "env": "ci" if number % 2 else "dev"}
    spec = make_spec(workers=1, readiness="booted").model_copy(update={"labels": labels, "ttl_seconds": _TTL_SECONDS})
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6) + timedelta(seconds=number)
    times = {name: began + timedelta(seconds=20 * stage) for stage, name in enumerate(_STAGES[phase])}
    made = Cluster(
        id=f"{number:012x}",
        name=f"bench-{number}",
        spec=spec,
        desired=Desired.ABSENT if phase is Phase.DELETED else Desired.PRESENT,
        phase=phase,
        updated_at=began,
        owner=f"owner-{number % OWNERS}",
        reserved=phase is Phase.READY,
        endpoints={22: Endpoint("127.0.0.1", 20000 + number)} if phase is Phase.READY else {},
        created_at=times["created_at"],
        admitted_at=times.get("admitted_at"),
        ready_at=times.get("ready_at"),
        failed_at=times.get("failed_at"),
        deleted_at=times.get("deleted_at"),
    )
    end = expiry(made)
    return replace(made, expires_at=end.at if end else None)


def mixed(number: int) -> Phase:
    """Of a hundred: 90 ready, 5 failed, 5 in the queue."""
    return {0: Phase.FAILED, 1: Phase.PENDING}.get(number % 20, Phase.READY)


async def write(store: Store, clusters: Sequence[Cluster]) -> None:
    """Their rows and labels."""
    async with store._database.write(300) as transaction:
        connection = transaction.connection
        for batch in _batches(clusters):
            await connection.execute(insert(tables.clusters), [_row(one) for one in batch])
            pairs = [
                {"cluster_id": one.id, "key": key, "value": value}
                for one in batch
                for key, value in one.spec.labels.items()
            ]
            await connection.execute(insert(tables.labels), pairs)
        if connection.dialect.name == "postgresql":
            # Which a server does by itself, a minute later; SQLite never does.
            await connection.execute(text("ANALYZE"))


async def erase(store: Store, clusters: Sequence[Cluster]) -> None:
    async with store._database.write(300) as transaction:
        for batch in _batches(clusters):
            gone = delete(tables.clusters).where(tables.clusters.c.id.in_([one.id for one in batch]))
            await transaction.connection.execute(gone)


def _batches(clusters: Sequence[Cluster]) -> Iterator[Sequence[Cluster]]:
    return (clusters[start : start + _BATCH] for start in range(0, len(clusters), _BATCH))


def _row(one: Cluster) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "spec": one.spec.model_dump(mode="json"),
        "desired": one.desired,
        "phase": one.phase,
        "generation": one.generation,
        "endpoints": {str(port): {"host": at.host, "port": at.port} for port, at in one.endpoints.items()},
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "admitted_at": one.admitted_at,
        "ready_at": one.ready_at,
        "failed_at": one.failed_at,
        "deleted_at": one.deleted_at,
        "expires_at": one.expires_at,
        "due_at": next_look(one, one.updated_at),
        "owner": one.owner,
        "reserved": one.reserved,
        **needs_columns(demand(one.spec)),
    }
