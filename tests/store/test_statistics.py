"""Totals over all clusters, and recent creations from images."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from dayfly.domain.cluster.model import Purpose
from dayfly.store import NewCluster, NewPool, Store
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec
from tests.support.template_controllers import Company

HOUR = 3600.0


async def cold(company: Company, *, workers: int = 0, owner: str = "default", isolation: str = "shared") -> None:
    spec = make_spec(workers=workers).model_copy(update={"isolation": isolation})
    await company.store.clusters.create(NewCluster(None, spec, owner))
    await company.work()


async def test_members_are_counted_by_their_state(store: Store) -> None:
    company = Company(store)
    await company.make_template()
    pools = [await store.pools.create(NewPool(name, "default", make_spec(), size=2, maximum=4)) for name in ("a", "b")]
    await store.pools.refill(pools[0].id, 2, make_spec())
    await company.work()
    company.broken = {Purpose.POOL_MEMBER}
    await store.pools.refill(pools[0].id, 3, make_spec())
    await company.work()
    await store.pools.remove_members([(await store.pools.members(pools[0].id))[0].id])
    await store.pools.refill(pools[0].id, 3, make_spec())
    found = await store.statistics.count_members()
    ids = [pool.id for pool in pools]
    assert {state: found[ids[0], state] for state in ("ready", "provisioning", "failed", "deleting")} == {
        "ready": 1,
        "provisioning": 1,
        "failed": 1,
        "deleting": 1,
    }
    assert {count for (pool, _), count in found.items() if pool == ids[1]} == {0}


async def test_who_was_given_to_a_caller_is_no_member_any_more_and_still_a_fork(store: Store) -> None:
    company = Company(store)
    await company.make_template()
    assert await store.statistics.count_forks() == 0, "neither its builder nor its trial lives on"
    pool = await store.pools.create(NewPool("a", "default", make_spec(), size=1, maximum=4))
    await store.pools.refill(pool.id, 1, make_spec())
    await company.work()
    assert (await store.statistics.count_members())[pool.id, "ready"] == 1
    await store.clusters.create(NewCluster(None, make_spec()))
    assert set((await store.statistics.count_members()).values()) == {0}
    assert await store.statistics.count_forks() == 1


async def test_templates_are_counted_by_phase_and_those_that_are_gone_are_not(store: Store) -> None:
    company = Company(store)
    assert set((await store.statistics.count_templates()).values()) == {0}
    gone = await company.make_template()
    await company.make_template(make_spec(workers=1))
    await store.templates.retire(gone.id)
    assert (await store.statistics.count_templates())[TemplatePhase.RETIRING] == 1
    await store.templates.close()
    counts = await store.statistics.count_templates()
    assert counts[TemplatePhase.READY] == 1
    assert sum(counts.values()) == 1


async def test_each_shape_provisioned_without_a_template_is_listed_once(store: Store) -> None:
    company = Company(store)
    began = datetime.now(UTC) - timedelta(seconds=5)
    for _ in range(3):
        await cold(company)
    await cold(company, workers=1)
    await cold(company, owner="another")
    found = await store.statistics.cold_shapes(HOUR, 20)
    assert [(spec.workers, owner) for spec, owner, _ in found] == [(0, "another"), (1, "default"), (0, "default")]
    assert all(ready_at > began for _, _, ready_at in found)
    assert len(await store.statistics.cold_shapes(HOUR, 1)) == 1


async def test_shapes_that_no_template_can_serve_are_not_listed(store: Store) -> None:
    company = Company(store)
    await cold(company, isolation="strict")
    await company.make_template(make_spec(workers=2))
    assert await store.statistics.cold_shapes(HOUR, 20) == (), (
        "neither one of its own, nor what a template was made with"
    )
    await cold(company, workers=2)
    assert await store.statistics.cold_shapes(HOUR, 20) == (), "a fork"
    await cold(company)
    await asyncio.sleep(0.05)
    assert await store.statistics.cold_shapes(0.01, 20) == (), "long ago"


async def test_valid_and_expired_leases_are_counted(store: Store) -> None:
    for _ in range(2):
        await store.clusters.create(NewCluster(None, make_spec()))
    await store.admission.admit(lambda queue: queue.waiting)
    await store.leases.claim("one", lease_seconds=60, limit=1)
    assert await store.statistics.count_leases() == (1, 0)
    await store.leases.claim("two", lease_seconds=0.01, limit=1)
    await asyncio.sleep(0.05)
    assert await store.statistics.count_leases() == (1, 1)
