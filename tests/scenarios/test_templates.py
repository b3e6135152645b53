"""The life of templates: retired when worn or outdated, rebuilt while needed, removed when no cluster uses them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.naming import template_volume
from dayfly.domain.template import FAILURES_IN_A_ROW, Template
from dayfly.store import NewCluster, NewPool, Store
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec
from tests.support.template_controllers import Company
from tests.support.world import World

DAY = 24 * 3600.0
REBUILT = "sha256:" + "cd" * 32


@pytest.fixture
def company(store: Store) -> Company:
    return Company(store)


async def present(company: Company, *phases: TemplatePhase) -> Sequence[Template]:
    return [one for one in await company.store.templates.list() if not phases or one.phase in phases]


async def fork_of(company: Company, template: Template) -> str:
    cluster, _ = await company.store.clusters.create(NewCluster(None, template.spec))
    await company.work()
    made = await company.store.clusters.get(cluster.id)
    assert (made.phase, made.template_id) == (Phase.READY, template.id)
    return cluster.id


async def test_one_in_its_prime_is_left_alone(company: Company) -> None:
    template = await company.make_template()
    company.clock.ahead = timedelta(days=2)
    await company.templates().look()
    assert await company.phases() == {template.id: TemplatePhase.READY}


async def test_an_old_one_in_use_is_made_anew(company: Company) -> None:
    template = await company.make_template()
    company.clock.ahead = timedelta(days=2)
    await company.templates(template_max_age_seconds=DAY).look()
    phases = await company.phases()
    assert phases.pop(template.id) is TemplatePhase.RETIRED
    assert list(phases.values()) == [TemplatePhase.BUILDING]


async def test_one_that_nobody_uses_goes(company: Company) -> None:
    template = await company.make_template()
    company.clock.ahead = timedelta(days=4)
    await company.templates().look()
    assert await company.phases() == {template.id: TemplatePhase.RETIRED}


async def test_one_that_a_pool_needs_stays(company: Company) -> None:
    template = await company.make_template()
    await company.store.pools.create(NewPool("ci", "default", template.spec, size=1, maximum=4))
    company.clock.ahead = timedelta(days=4)
    await company.templates().look()
    assert await company.phases() == {template.id: TemplatePhase.READY}


async def test_a_rebuilt_image_makes_a_new_one_and_the_old_goes_with_its_last_fork(company: Company) -> None:
    template = await company.make_template()
    fork = await fork_of(company, template)
    company.images["bare"] = REBUILT
    curator = company.templates()
    await curator.look()
    (new,) = await present(company, TemplatePhase.BUILDING)
    assert new.spec.image_id == REBUILT
    assert new.spec.shape != template.spec.shape
    assert (await company.phases())[template.id] is TemplatePhase.RETIRING
    await company.work()
    await curator.look()
    assert await company.phases() == {template.id: TemplatePhase.RETIRING, new.id: TemplatePhase.READY}
    await company.store.lifecycle.delete(fork)
    await company.work()
    await curator.close()
    assert await company.phases() == {template.id: TemplatePhase.RETIRED, new.id: TemplatePhase.READY}


async def test_one_whose_image_is_no_more_goes(company: Company) -> None:
    template = await company.make_template()
    company.images.clear()
    await company.templates().look()
    assert await company.phases() == {template.id: TemplatePhase.RETIRED}


async def test_one_whose_forks_fail_is_made_anew(company: Company) -> None:
    template = await company.make_template()
    for _ in range(FAILURES_IN_A_ROW - 1):
        await company.store.templates.fork_ended(template.id, ok=False)
    curator = company.templates()
    await curator.look()
    assert (await company.phases())[template.id] is TemplatePhase.READY
    await company.store.templates.fork_ended(template.id, ok=True)
    for _ in range(FAILURES_IN_A_ROW):
        await company.store.templates.fork_ended(template.id, ok=False)
    await curator.look()
    phases = await company.phases()
    assert phases.pop(template.id) is TemplatePhase.RETIRED
    assert list(phases.values()) == [TemplatePhase.BUILDING]


async def test_one_that_failed_is_shown_for_a_while_then_goes(company: Company) -> None:
    company.broken = {Purpose.TEMPLATE}
    failed, _ = await company.store.templates.create(
        make_spec(), "default", await company.key_of(make_spec(), "default")
    )
    await company.work()
    curator = company.templates(template_retry_seconds=3600)
    await curator.look()
    (shown,) = await present(company)
    assert shown.phase is TemplatePhase.FAILED
    assert shown.fault is not None
    company.clock.ahead = timedelta(hours=2)
    await curator.look()
    assert await company.phases() == {failed.id: TemplatePhase.RETIRED}


async def test_a_template_whose_first_fork_fails_is_never_used(company: Company) -> None:
    company.broken = {Purpose.VERIFICATION}
    failed, _ = await company.store.templates.create(
        make_spec(), "default", await company.key_of(make_spec(), "default")
    )
    await company.work()
    assert await company.phases() == {failed.id: TemplatePhase.FAILED}
    assert await company.store.templates.find(failed.key, "default") is None
    living = (await company.store.clusters.list(purposes=list(Purpose))).clusters
    assert not living, "what it was made with is removed"


async def test_a_shape_that_was_made_cold_gets_a_template_where_that_is_configured(company: Company) -> None:
    await company.store.clusters.create(NewCluster(None, make_spec()))
    await company.work()
    await company.templates().look()
    assert await company.phases() == {}
    curator = company.templates(template_auto=True)
    await asyncio.gather(curator.look(), company.templates(template_auto=True).look())
    (made,) = await present(company, TemplatePhase.BUILDING)
    assert made.spec == make_spec()
    await company.work()
    await curator.look()
    assert await company.phases() == {made.id: TemplatePhase.READY}


async def test_what_was_taken_away_comes_back_with_the_next_cold_creation_only(company: Company) -> None:
    await company.store.clusters.create(NewCluster(None, make_spec()))
    await company.work()
    curator = company.templates(template_auto=True)
    await curator.look()
    (made,) = await present(company)
    await company.work()
    await company.store.templates.retire(made.id)
    await curator.look()
    await curator.look()
    assert await company.phases() == {made.id: TemplatePhase.RETIRED}
    await company.store.clusters.create(NewCluster(None, make_spec()))
    await company.work()
    await curator.look()
    assert [template.phase for template in await present(company)] == [TemplatePhase.BUILDING]


async def test_no_template_is_made_of_what_could_not_use_it(company: Company) -> None:
    strict = make_spec().model_copy(update={"isolation": "strict"})
    await company.store.clusters.create(NewCluster(None, strict))
    await company.store.clusters.create(NewCluster(None, make_spec(image_id="sha256:" + "00" * 32)))
    await company.work()
    await company.templates(template_auto=True).look()
    assert await company.phases() == {}


async def test_the_loop_closes_what_is_retired_as_soon_as_its_last_fork_goes(company: Company) -> None:
    template = await company.make_template()
    fork = await fork_of(company, template)
    await company.store.templates.retire(template.id)
    loop = asyncio.create_task(company.templates().run())
    try:
        await asyncio.sleep(0.2)
        assert (await company.phases())[template.id] is TemplatePhase.RETIRING
        await company.store.lifecycle.delete(fork)
        await company.work()
        with company.store.watch_queue() as watch:
            async with asyncio.timeout(10):
                while (await company.phases())[template.id] is not TemplatePhase.RETIRED:
                    await watch.wait(0.1)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_its_volume_goes_with_its_last_fork(store: Store) -> None:
    world, company = World(store), Company(store, accelerator="kvm")
    async with world.working():
        template = await world.template(make_spec())
        fork = await world.until(await world.create(make_spec()), Phase.READY)
        assert fork.template_id == template.id
        await store.templates.retire(template.id)
        await company.templates().close()
        await world.collector().look()
        assert template_volume(template.id) in world.engine.volumes
        await store.lifecycle.delete(fork.id)
        await world.until(fork, Phase.DELETED)
        await company.templates().close()
        await world.collector().look()
    assert template_volume(template.id) not in world.engine.volumes
    assert not world.engine.containers
