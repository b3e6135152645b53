"""What tests of the store say often; time passes in the database, not in the test."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Column, update

from dayfly.domain.cluster import Cluster
from dayfly.domain.lifecycle import Phase
from dayfly.store import Claim, NewCluster, Store
from dayfly.store.tables import clusters
from tests.support.specs import make_spec

LEASE_SECONDS = 60.0


async def create(
    store: Store, name: str | None = None, *, ttl: int | None = None, labels: dict[str, str] | None = None
) -> Cluster:
    spec = make_spec().model_copy(update={"labels": labels or {}})
    cluster, created = await store.create_cluster(NewCluster(name, spec, ttl))
    assert created
    return cluster


async def claim_one(store: Store, owner: str = "worker") -> Claim:
    [claim] = await store.claim(owner, lease_seconds=LEASE_SECONDS, limit=10)
    return claim


async def claim_new(store: Store, name: str | None = None, *, ttl: int | None = None) -> Claim:
    """A new cluster, claimed: the only one that is due."""
    await create(store, name, ttl=ttl)
    return await claim_one(store)


async def move(store: Store, claim: Claim, *phases: Phase) -> None:
    for phase in phases:
        await store.set_phase(claim, phase)


async def set_back(store: Store, cluster_id: str, column: Column[object], seconds: float = 3600.0) -> None:
    """As if `seconds` had passed for one time of one cluster."""
    async with store._database.write() as transaction:
        past = transaction.now - timedelta(seconds=seconds)
        statement = update(clusters).where(clusters.c.id == cluster_id).values({column.name: past})
        await transaction.connection.execute(statement)
