"""Common helpers for tests of the store. Time passes in the database, not in the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from sqlalchemy import Column, update

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Event, Hold
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Pool
from dayfly.domain.security.secrets import new_secrets
from dayfly.domain.template import Template
from dayfly.store import Claim, NewCluster, Store
from dayfly.store.db.database import Database
from dayfly.store.db.tables import clusters
from tests.support.databases import KEYS
from tests.support.specs import make_spec

LEASE_SECONDS = 60.0


def spec_with(**fields: object) -> ClusterSpec:
    """`ttl_seconds`, `labels`, `heartbeat_interval_seconds`, …"""
    return make_spec().model_copy(update=fields)


@asynccontextmanager
async def several_stores(url: str, count: int) -> AsyncIterator[tuple[Store, ...]]:
    """Stores on one database: several processes on PostgreSQL, one process on SQLite."""
    databases = [await Database.open(url, KEYS) for _ in range(1 if url.startswith("sqlite") else count)]
    try:
        yield tuple(Store(databases[index % len(databases)]) for index in range(count))
    finally:
        for database in databases:
            await database.close()


async def create(
    store: Store,
    name: str | None = None,
    *,
    owner: str = "default",
    hold: Hold | None = None,
    **fields: object,
) -> Cluster:
    """A new cluster, in the queue. `fields` are its spec's."""
    cluster, created = await store.clusters.create(NewCluster(name, spec_with(**fields), owner, hold))
    assert created
    return cluster


async def admit_all(store: Store) -> tuple[str, ...]:
    """As if the host had room for everybody."""
    return await store.admission.admit(lambda queue: queue.waiting)


async def create_due(store: Store, name: str | None = None, **fields: object) -> Cluster:
    """A new cluster that a worker can claim."""
    made = await create(store, name, **fields)  # type: ignore[arg-type]
    assert made.id in await admit_all(store)
    return await store.clusters.get(made.id)


async def claim_one(store: Store, owner: str = "worker") -> Claim:
    [claim] = await store.leases.claim(owner, lease_seconds=LEASE_SECONDS, limit=10)
    return claim


async def claim_new(store: Store, name: str | None = None, **fields: object) -> Claim:
    """A new, claimed cluster: the only one that is due."""
    await create_due(store, name, **fields)
    return await claim_one(store)


async def reported(store: Store, cluster_id: str) -> tuple[Event, ...]:
    """The cluster's events since it was admitted."""
    return tuple(event for event in await store.clusters.events(cluster_id) if event.type != "cluster.admitted")


async def move(store: Store, claim: Claim, *phases: Phase) -> None:
    for phase in phases:
        await store.status.set_phase(claim, phase)


async def provision(store: Store, claim: Claim) -> None:
    """A new cluster, with its own secrets."""
    await store.status.save_secrets(claim, new_secrets(claim.cluster.spec, claim.at))
    await store.status.set_phase(claim, Phase.PROVISIONING)


async def set_back(store: Store, cluster_id: str, column: Column[object], seconds: float = 3600.0) -> None:
    """Move one time of one cluster back by `seconds`."""
    async with store._database.write() as transaction:
        past = transaction.now - timedelta(seconds=seconds)
        statement = update(clusters).where(clusters.c.id == cluster_id).values({column.name: past})
        await transaction.connection.execute(statement)


async def make_ready(store: Store, name: str | None = None, **fields: object) -> Cluster:
    """A caller's ready cluster without a lease."""
    claim = await claim_new(store, name, **fields)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.leases.release(claim, due_in_seconds=None)
    return await store.clusters.get(claim.cluster.id)


async def make_template(store: Store, key: str = "key", **fields: object) -> Template:
    """A template that is ready; what it was made and tried with is deleted."""
    template, _ = await store.templates.create(spec_with(**fields), "default", key)
    for ending in (lambda claim: store.template_builds.saved(claim, 4096), store.template_builds.verified):
        await admit_all(store)
        claim = await claim_one(store)
        await provision(store, claim)
        await move(store, claim, Phase.READY)
        await ending(claim)
        await move(store, claim, Phase.DELETING, Phase.DELETED)
    return await store.templates.get(template.id)


async def make_members(store: Store, pool: Pool, count: int) -> tuple[Cluster, ...]:
    """`count` members that wait for callers, the first ready first."""
    await store.pools.refill(pool.id, count, pool.spec)
    await admit_all(store)
    for claim in await store.leases.claim("worker", lease_seconds=LEASE_SECONDS, limit=count):
        await move(store, claim, Phase.PROVISIONING, Phase.READY)
        await store.provisioning.set_paused(claim, paused=True)
        await store.leases.release(claim, due_in_seconds=None)
    return await store.pools.members(pool.id)
