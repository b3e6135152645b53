"""Pools are filled, refilled, renewed and shrunk, also by several controllers at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.pool import Pool, PoolCondition
from dayfly.store import NewCluster, PoolChange, Store
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec
from tests.support.template_controllers import Company, make_pool, waiting

REBUILT = "sha256:" + "cd" * 32


@pytest.fixture
def company(store: Store) -> Company:
    return Company(store)


async def states(company: Company, pool: Pool) -> Mapping[str, int]:
    counts = await company.store.statistics.count_members()
    return {state: count for (pool_id, state), count in counts.items() if pool_id == pool.id and count}


async def fill(company: Company, **settings: object) -> None:
    """Look and work until nothing changes any more."""
    curator = company.pools(**settings)
    for _ in range(4):
        await curator.look()
        await company.work()


async def why(company: Company, name: str = "ci") -> PoolCondition | None:
    """The pool's condition."""
    return (await company.store.pools.get(name)).condition


async def test_a_pool_says_what_keeps_it_from_being_filled_until_nothing_does(company: Company) -> None:
    await make_pool(company)
    assert await why(company) is None, "nobody has looked"
    curator = company.pools(pool_retry_seconds=60)
    await curator.look()
    (template_id,) = await company.phases()
    assert await why(company) == PoolCondition("template_building", f"template {template_id} is being built")
    await company.work()
    company.broken = {Purpose.POOL_MEMBER}
    await curator.look()
    assert await why(company) is None, "members are on their way"
    company.clock.ahead = timedelta(seconds=11)
    await curator.look()
    waits = await why(company)
    assert waits is not None
    assert waits.code == "insufficient_capacity"
    await company.work()
    await curator.look()
    waits = await why(company)
    assert waits is not None
    assert (waits.code, waits.message.partition(" failed: ")[2]) == ("ssh_timeout", "it never answered")
    company.broken, company.clock.ahead = set(), timedelta(seconds=71)
    await fill(company, pool_retry_seconds=60)
    assert await why(company) is None


async def test_what_is_told_of_a_pool_is_written_when_it_changes(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_pool(company)
    told: list[PoolCondition | None] = []

    async def tell(_: str, waiting: PoolCondition | None) -> bool:
        told.append(waiting)
        return await write(_, waiting)

    write = company.store.pools.set_condition
    monkeypatch.setattr(company.store.pools, "set_condition", tell)
    for _ in range(3):
        await company.pools().look()
        await company.pools().look()
        await company.work()
    assert [waiting and waiting.code for waiting in told] == ["template_building", None]


async def test_a_full_pool_whose_template_is_made_anew_waits_for_nothing(company: Company) -> None:
    pool = await make_pool(company)
    await fill(company)
    (template_id,) = await company.phases()
    await company.store.templates.retire(template_id)
    await company.pools().look()
    assert await states(company, pool) == {"ready": 2}
    assert TemplatePhase.BUILDING in (await company.phases()).values()
    assert await why(company) is None


async def test_a_pool_has_its_template_made_and_is_then_filled(company: Company) -> None:
    pool = await make_pool(company)
    curator = company.pools()
    await curator.look()
    assert await states(company, pool) == {}, "it waits for its template"
    assert list((await company.phases()).values()) == [TemplatePhase.BUILDING]
    await company.work()
    await curator.look()
    assert await states(company, pool) == {"provisioning": 2}
    await company.work()
    await curator.look()
    assert len(await waiting(company, pool)) == 2
    assert await states(company, pool) == {"ready": 2}


async def test_whoever_asks_gets_a_member_and_the_pool_refills(company: Company) -> None:
    pool = await make_pool(company)
    await fill(company)
    before = {member.id for member in await waiting(company, pool)}
    mine, _ = await company.store.clusters.create(NewCluster("mine", make_spec(), "default"))
    assert mine.id in before
    assert (mine.phase, mine.purpose, mine.name) == (Phase.PENDING, Purpose.CLUSTER, "mine")
    await fill(company)
    after = {member.id for member in await waiting(company, pool)}
    assert len(after) == 2
    assert mine.id not in after
    assert (await company.store.clusters.get(mine.id)).desired is Desired.PRESENT


async def test_many_who_look_at_once_never_overfill(company: Company) -> None:
    pool = await make_pool(company, size=3)
    await company.pools().look()
    await company.work()
    await asyncio.gather(*(company.pools().look() for _ in range(5)))
    assert len(await company.store.pools.members(pool.id)) == 3


async def test_a_rebuilt_image_replaces_every_member(company: Company) -> None:
    pool = await make_pool(company)
    await fill(company)
    old = {member.id for member in await waiting(company, pool)}
    company.images["bare"] = REBUILT
    await fill(company)
    new = await waiting(company, pool)
    assert len(new) == 2
    assert {member.spec.image_id for member in new} == {REBUILT}
    assert not old & {member.id for member in new}
    for cluster_id in old:
        assert (await company.store.clusters.get(cluster_id)).phase is Phase.DELETED


async def test_a_claimed_member_is_not_dismissed(company: Company) -> None:
    pool = await make_pool(company)
    await fill(company)
    members = await waiting(company, pool)
    mine, _ = await company.store.clusters.create(NewCluster(None, make_spec()))
    assert await company.store.pools.remove_members([member.id for member in members]) == 1
    await company.work()
    assert (await company.store.clusters.get(mine.id)).phase is Phase.READY


async def test_old_members_are_replaced_one_by_one(company: Company) -> None:
    pool = await make_pool(company, size=3)
    await fill(company)
    old = {member.id for member in await waiting(company, pool)}
    company.clock.ahead = timedelta(hours=2)
    curator = company.pools()
    await curator.look()
    leaving = Counter(member.desired for member in await company.store.pools.members(pool.id))
    assert leaving[Desired.ABSENT] == 1, "the others wait on"
    company.clock.ahead = timedelta(minutes=59)  # new members are young
    await fill(company)
    assert len(old & {member.id for member in await waiting(company, pool)}) == 2


async def test_one_that_fails_keeps_its_place_for_a_while(company: Company) -> None:
    pool = await make_pool(company)
    await company.make_template()
    company.broken = {Purpose.POOL_MEMBER}
    await fill(company, pool_retry_seconds=60)
    assert await states(company, pool) == {"failed": 2}, "no more are made meanwhile"
    company.broken = set()
    company.clock.ahead = timedelta(seconds=61)
    await fill(company, pool_retry_seconds=60)
    assert await states(company, pool) == {"ready": 2}


async def test_a_smaller_pool_lets_members_go(company: Company) -> None:
    pool = await make_pool(company, size=3)
    await fill(company)
    await company.store.pools.change("ci", PoolChange(size=1))
    await fill(company)
    assert await states(company, pool) == {"ready": 1}
    await company.store.pools.change("ci", PoolChange(maximum=0))
    await fill(company)
    assert await states(company, pool) == {}


async def test_with_a_pool_its_members_go(company: Company) -> None:
    pool = await make_pool(company)
    await fill(company)
    members = await waiting(company, pool)
    await company.store.pools.delete("ci")
    await fill(company)
    for member in members:
        assert (await company.store.clusters.get(member.id)).phase is Phase.DELETED
    assert await company.store.statistics.count_members() == {}


async def test_a_pool_whose_image_is_gone_keeps_the_others_from_nothing(company: Company) -> None:
    company.images["other"] = REBUILT
    await make_pool(company, name="a-broken", image="other")
    pool = await make_pool(company)
    del company.images["other"]
    with capture_logs() as logs:
        await fill(company)
    assert len(await waiting(company, pool)) == 2
    told = [entry for entry in logs if entry["event"] == "pool cannot be filled" and entry["pool"] == "a-broken"]
    assert len(told) == 1, "said once"
    assert told[0]["code"] == "image_missing"
    assert await why(company, "a-broken") == PoolCondition("image_missing", "image other: No such image")
    assert await why(company, "ci") is None


async def test_a_template_that_fails_is_not_tried_again_and_again(company: Company) -> None:
    await make_pool(company)
    company.broken = {Purpose.TEMPLATE}
    with capture_logs() as logs:
        await fill(company)
    assert list((await company.phases()).values()) == [TemplatePhase.FAILED]
    assert any("it never answered" in entry.get("reason", "") for entry in logs)
    waits = await why(company)
    assert waits is not None
    assert waits.code == "ssh_timeout"
    company.broken = set()
    company.clock.ahead = timedelta(hours=2)
    await company.templates().look()
    await fill(company)
    assert sorted((await company.phases()).values()) == [TemplatePhase.READY, TemplatePhase.RETIRED]


async def test_the_loop_refills_as_soon_as_a_member_is_taken(company: Company) -> None:
    pool = await make_pool(company)
    await fill(company)
    loop = asyncio.create_task(company.pools(poll_seconds=3600).run())
    try:
        await asyncio.sleep(0.3)
        await company.store.clusters.create(NewCluster(None, make_spec()))
        with company.store.watch_work() as watch:
            async with asyncio.timeout(10):
                while len(await waiting(company, pool)) < 2:
                    await company.work()
                    await watch.wait(0.1)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
