"""Metrics of a worker: passes, leases, steps and failed clusters are counted where they happen."""

from __future__ import annotations

from dayfly import metrics
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.store import Store
from tests.support.specs import make_spec
from tests.support.world import World


def samples() -> dict[str, float]:
    """Name with the values of labels → value."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
    }


async def test_the_life_of_a_cluster_is_measured(store: Store) -> None:
    world, before = World(store), samples()
    async with world.working():
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
        await store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    grown = {name for name, value in samples().items() if value > before.get(name, 0.0)}
    assert {
        "dayfly_queue_wait_seconds_count",
        "dayfly_leases_claimed_total",
        "dayfly_reconcile_duration_seconds_count finished",
        "dayfly_step_duration_seconds_count boot done",
        "dayfly_step_duration_seconds_count sandbox done",
        "dayfly_step_duration_seconds_count teardown done",
    } <= grown
    assert not any(name.startswith("dayfly_cluster_failures") for name in grown)
