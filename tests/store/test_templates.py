"""Templates: one a key, built and verified by their own clusters, in use until the last fork is deleted."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.domain.cluster.boot_source import TEMPLATE
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Fault, Purpose
from dayfly.domain.template import Template
from dayfly.errors import NotFound
from dayfly.store import Claim, Store
from dayfly.store.db.tables import clusters
from dayfly.vocabulary import TemplatePhase
from tests.store.helpers import (
    admit_all,
    claim_new,
    claim_one,
    make_template,
    move,
    provision,
    set_back,
    several_stores,
    spec_with,
)
from tests.support.specs import make_spec

FAULT = Fault("not_usable", "no pod ran", evidence={"console": "text"})


async def _build(store: Store) -> Claim:
    """The cluster that a new template is made from, ready."""
    await store.templates.create(make_spec(), "default", "key")
    await admit_all(store)
    claim = await claim_one(store)
    await provision(store, claim)
    await move(store, claim, Phase.READY)
    return claim


async def _try(store: Store) -> Claim:
    """The trial of a new template, ready; what it was made from is deleted."""
    builder = await _build(store)
    await store.template_builds.saved(builder, 4096)
    await move(store, builder, Phase.DELETING, Phase.DELETED)
    await admit_all(store)
    claim = await claim_one(store)
    await store.provisioning.begin(claim, TEMPLATE, template_id=claim.cluster.template_id)
    await move(store, claim, Phase.READY)
    return claim


async def test_a_template_comes_with_the_cluster_that_it_is_made_from(store: Store) -> None:
    spec = spec_with(labels={"a": "b"}, ttl_seconds=60, restart="never", idle_seconds=60)
    template, created = await store.templates.create(spec, "me", "key")
    assert created
    assert (template.phase, template.key, template.owner) == (TemplatePhase.BUILDING, "key", "me")
    assert await store.templates.get(template.id) == template
    builder = await store.clusters.get(template.builder)
    assert (builder.purpose, builder.template_id, builder.owner) == (Purpose.TEMPLATE, template.id, "me")
    assert builder.spec == template.spec == make_spec(), "what a caller wants besides is not the template's"
    assert builder.expires_at is None
    [waiting] = (await store.admission.queue()).waiting
    assert (waiting.id, waiting.background) == (builder.id, True)


async def test_there_is_one_a_key(store: Store) -> None:
    first, _ = await store.templates.create(make_spec(), "default", "key")
    assert await store.templates.create(make_spec(), "default", "key") == (first, False)
    other, created = await store.templates.create(make_spec(), "default", "other")
    assert created
    await store.templates.retire(first.id)
    second, created = await store.templates.create(make_spec(), "default", "key")
    assert created
    assert [template.id for template in await store.templates.list()] == [second.id, other.id, first.id]


async def test_one_a_key_though_many_ask_at_once(url: str) -> None:
    async with several_stores(url, 3) as stores:
        made = await asyncio.gather(*(s.templates.create(make_spec(), "me", "key") for s in stores for _ in range(3)))
        assert len({template.id for template, _ in made}) == 1
        assert sum(created for _, created in made) == 1
        assert len((await stores[0].admission.queue()).waiting) == 1


async def test_a_template_that_is_saved_is_tried(store: Store) -> None:
    claim = await _build(store)
    await store.template_builds.growing(claim, 2**20)
    [template] = await store.templates.list()
    assert (template.phase, template.size_bytes) == (TemplatePhase.BUILDING, 2**20)
    await store.template_builds.saved(claim, 3 * 2**30)
    await store.template_builds.growing(claim, 2**21)
    [template] = await store.templates.list()
    assert (template.phase, template.size_bytes, template.forks) == (TemplatePhase.VERIFYING, 3 * 2**30, 1)
    assert await store.templates.find("key", "default") is None
    builder = await store.clusters.get(template.builder)
    assert builder.desired is Desired.ABSENT
    assert await store.templates.secrets(template.id) == await store.clusters.secrets(builder.id)
    [waiting] = (await store.admission.queue()).waiting
    trial = await store.clusters.get(waiting.id)
    assert (trial.purpose, trial.template_id, trial.spec) == (Purpose.VERIFICATION, template.id, builder.spec)
    await store.template_builds.saved(claim, 1)
    assert len((await store.admission.queue()).waiting) == 1, "saying it twice makes no second trial"


async def test_a_template_that_passed_its_trial_is_ready(store: Store) -> None:
    claim = await _try(store)
    await store.template_builds.verified(claim)
    [template] = await store.templates.list()
    assert template.phase is TemplatePhase.READY
    assert template.ready_at is not None
    assert await store.templates.find("key", "default") == template
    assert await store.templates.find("key", "other") is None
    assert await store.templates.find("other", "default") is None
    assert (await store.clusters.get(claim.cluster.id)).desired is Desired.ABSENT
    await store.leases.release(claim, due_in_seconds=None)
    assert (await claim_one(store)).cluster.id == claim.cluster.id


@pytest.mark.parametrize("make", [_build, _try])
@pytest.mark.parametrize("how", ["failed", "deleted"])
async def test_a_template_fails_with_what_it_is_made_or_tried_with(store: Store, make: object, how: str) -> None:
    claim = await make(store)  # type: ignore[operator]
    if how == "failed":
        await store.status.set_phase(claim, Phase.FAILED, fault=FAULT, free=True)
    else:
        await store.lifecycle.delete(claim.cluster.id)
        await move(store, claim, Phase.DELETING, Phase.DELETED)
    [template] = await store.templates.list()
    assert template.phase is TemplatePhase.FAILED
    assert template.fault is not None
    assert template.fault.code == ("conflict" if how == "deleted" else "not_usable")
    assert template.failed_cluster == claim.cluster.id
    assert (await store.clusters.get(claim.cluster.id)).desired is Desired.ABSENT
    _, created = await store.templates.create(make_spec(), "default", "key")
    assert created, "it is in nobody's way"


async def test_what_is_reported_of_a_retired_template_comes_too_late(store: Store) -> None:
    claim = await _build(store)
    assert claim.cluster.template_id is not None
    retired = await store.templates.retire(claim.cluster.template_id)
    assert retired.phase is TemplatePhase.RETIRING
    assert (await store.clusters.get(claim.cluster.id)).desired is Desired.ABSENT
    await store.template_builds.saved(claim, 4096)
    await store.status.set_phase(claim, Phase.FAILED, fault=FAULT, free=True)
    assert await store.templates.list() == (retired,)
    assert (await store.admission.queue()).waiting == ()


async def test_a_template_retired_on_trial_has_its_trial_removed(store: Store) -> None:
    claim = await _try(store)
    assert claim.cluster.template_id is not None
    with store.watch_requests(claim.cluster.id) as watch:
        await store.templates.retire(claim.cluster.template_id)
        assert await watch.wait(5)
    assert (await store.clusters.get(claim.cluster.id)).desired is Desired.ABSENT
    await store.template_builds.verified(claim)
    assert (await store.templates.get(claim.cluster.template_id)).phase is TemplatePhase.RETIRING


async def test_a_template_is_gone_when_its_last_fork_is(store: Store) -> None:
    template = await make_template(store)
    claim = await claim_new(store)
    await store.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    await move(store, claim, Phase.READY)
    assert await store.templates.close() == ()
    await store.templates.retire(template.id)
    assert await store.templates.close() == ()
    assert await store.templates.known() == {template.id: TemplatePhase.RETIRING}
    assert await store.templates.find("key", "default") is None
    with store.watch_queue() as watch:
        await move(store, claim, Phase.DELETING, Phase.DELETED)
        assert await watch.wait(5)
    assert await store.templates.close() == (template.id,)
    assert await store.templates.close() == ()
    assert await store.templates.known() == {template.id: TemplatePhase.RETIRED}
    assert await store.templates.secrets(template.id) is None
    assert await store.templates.list() == ()
    [retired] = await store.templates.list(retired=True)
    assert (retired.phase, retired.forks, retired.uses) == (TemplatePhase.RETIRED, 0, 1)
    assert await store.templates.retire(template.id) == retired
    assert await store.maintenance.purge_deleted(3600, limit=10) == 0
    assert await store.templates.known() != {}
    assert await store.maintenance.purge_deleted(-1, limit=10) > 0
    assert await store.templates.known() == {}


async def test_a_failed_template_is_retired_on_request(store: Store) -> None:
    claim = await _build(store)
    await store.status.set_phase(claim, Phase.FAILED, fault=FAULT, free=True)
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    assert await store.templates.close() == ()
    [failed] = await store.templates.list()
    retired = await store.templates.retire(failed.id)
    assert (retired.phase, retired.fault) == (TemplatePhase.RETIRING, failed.fault)
    assert await store.templates.close() == (failed.id,)


async def test_failures_in_a_row_are_counted(store: Store) -> None:
    template = await make_template(store)
    for _ in range(2):
        await store.templates.fork_ended(template.id, ok=False)
    assert (await store.templates.get(template.id)).failures == 2
    await store.templates.fork_ended(template.id, ok=True)
    assert (await store.templates.get(template.id)).failures == 0


async def test_templates_are_listed_by_owner(store: Store) -> None:
    mine, _ = await store.templates.create(make_spec(), "me", "a")
    await store.templates.create(make_spec(), "other", "b")
    assert await store.templates.list(owner="me") == (mine,)


async def test_an_unknown_template_is_not_found(store: Store) -> None:
    for ask in (store.templates.get, store.templates.retire):
        with pytest.raises(NotFound):
            await ask("0123456789ab")
    assert await store.templates.secrets("0123456789ab") is None


async def test_builders_are_listed_only_on_request(store: Store) -> None:
    template, _ = await store.templates.create(make_spec(), "default", "key")
    assert (await store.clusters.list()).clusters == ()
    found = await store.clusters.list(purposes={Purpose.TEMPLATE})
    assert [cluster.id for cluster in found.clusters] == [template.builder]


async def test_a_template_is_retired_while_it_moves_on(url: str) -> None:
    """Whatever comes first, nothing is left that would make it."""
    async with several_stores(url, 2) as stores:
        for _ in range(5):
            claim = await _build(stores[0])
            assert claim.cluster.template_id is not None
            await asyncio.gather(
                stores[0].template_builds.saved(claim, 1), stores[1].templates.retire(claim.cluster.template_id)
            )
            template = await stores[0].templates.get(claim.cluster.template_id)
            assert template.phase is TemplatePhase.RETIRING
            living = await stores[0].clusters.list(purposes=set(Purpose))
            assert {cluster.desired for cluster in living.clusters} == {Desired.ABSENT}
            for cluster in living.clusters:
                await set_back(stores[0], cluster.id, clusters.c.due_at)
                if cluster.id == claim.cluster.id:
                    await move(stores[0], claim, Phase.DELETING, Phase.DELETED)
                else:
                    [other] = await stores[0].leases.claim("worker", lease_seconds=60, limit=1)
                    await move(stores[0], other, Phase.DELETING, Phase.DELETED)
            assert await stores[0].templates.close() == (template.id,)


async def test_one_is_renewed_as_a_whole(store: Store) -> None:
    old = await make_template(store)
    new = await store.templates.renew(old.id, make_spec(), old.key)
    assert new is not None
    assert (new.phase, new.key, new.owner) == (TemplatePhase.BUILDING, old.key, old.owner)
    assert [waiting.id for waiting in (await store.admission.queue()).waiting] == [new.builder]
    assert await store.templates.known() == {old.id: TemplatePhase.RETIRING, new.id: TemplatePhase.BUILDING}
    assert await store.templates.renew(old.id, make_spec(), old.key) is None, "somebody did already"
    assert await store.templates.renew(new.id, make_spec(), old.key) is None, "it is not ready"
    assert len(await store.templates.known()) == 2


async def test_a_renewed_one_gives_way_to_one_that_is_there(store: Store) -> None:
    old = await make_template(store)
    other = await make_template(store, key="another")
    assert await store.templates.renew(old.id, make_spec(), "another") is None
    assert await store.templates.known() == {old.id: TemplatePhase.RETIRING, other.id: TemplatePhase.READY}


async def test_one_that_cannot_be_renewed_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = await make_template(store)

    async def dies(*_: object) -> Template:
        raise asyncio.CancelledError

    monkeypatch.setattr("dayfly.store.templates._insert", dies)
    with pytest.raises(asyncio.CancelledError):
        await store.templates.renew(old.id, make_spec(), old.key)
    assert await store.templates.known() == {old.id: TemplatePhase.READY}


async def test_many_who_renew_at_once_make_one(store: Store) -> None:
    old = await make_template(store)
    made = await asyncio.gather(*(store.templates.renew(old.id, make_spec(), old.key) for _ in range(5)))
    assert sum(one is not None for one in made) == 1
    assert sorted((await store.templates.known()).values()) == [TemplatePhase.BUILDING, TemplatePhase.RETIRING]
