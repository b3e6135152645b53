"""The boot source of a cluster's machines, as recorded by the worker with the lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from dayfly.domain.cluster.boot_source import IMAGE, TEMPLATE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.scheduling.resources import demand
from dayfly.domain.security.secrets import new_secrets
from dayfly.errors import Conflict, Internal, LeaseLost
from dayfly.store import NewCluster, Store
from dayfly.store.db.tables import clusters
from tests.store.helpers import admit_all, claim_new, claim_one, make_ready, make_template, move, reported, set_back
from tests.support.specs import make_spec


async def test_a_fork_gets_its_template_its_secrets_and_its_phase_at_once(store: Store) -> None:
    template = await make_template(store)
    claim = await claim_new(store)
    secrets = new_secrets(claim.cluster.spec, claim.at)
    forked = await store.provisioning.begin(claim, TEMPLATE, secrets=secrets, template_id=template.id)
    assert (forked.phase, forked.boot_source, forked.template_id) == (Phase.PROVISIONING, TEMPLATE, template.id)
    assert await store.clusters.secrets(claim.cluster.id) == secrets
    used = await store.templates.get(template.id)
    assert (used.uses, used.forks) == (1, 1)
    assert used.last_used_at is not None
    [event] = await reported(store, claim.cluster.id)
    assert (event.type, event.message) == ("phase", "pending → provisioning")


async def test_a_fork_that_falls_back_is_none_any_more(store: Store) -> None:
    template = await make_template(store)
    claim = await claim_new(store)
    await store.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    own = new_secrets(claim.cluster.spec, claim.at)
    cold = await store.provisioning.begin(claim, IMAGE, secrets=own)
    assert (cold.phase, cold.boot_source, cold.template_id, cold.generation) == (Phase.PROVISIONING, IMAGE, None, 1)
    assert await store.clusters.secrets(claim.cluster.id) == own
    used = await store.templates.get(template.id)
    assert (used.uses, used.forks) == (1, 0)
    assert [event.type for event in await reported(store, claim.cluster.id)] == ["phase"]


async def test_a_fork_that_begins_again_uses_its_template_once(store: Store) -> None:
    template = await make_template(store)
    claim = await claim_new(store)
    for _ in range(2):
        await store.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    assert (await store.templates.get(template.id)).uses == 1


async def test_a_template_that_is_retired_takes_no_new_forks_but_its_own(store: Store) -> None:
    template = await make_template(store)
    claim = await claim_new(store)
    await store.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    await store.templates.retire(template.id)
    reset = await store.provisioning.begin(claim, TEMPLATE, template_id=template.id, reset=True)
    assert reset.generation == 2
    other = await claim_new(store)
    with pytest.raises(Conflict, match="no forks"):
        await store.provisioning.begin(other, TEMPLATE, template_id=template.id)
    assert (await store.clusters.get(other.cluster.id)).phase is Phase.PENDING
    assert await reported(store, other.cluster.id) == ()


async def test_a_recovery_keeps_what_it_is_a_fork_of(store: Store) -> None:
    template = await make_template(store)
    claim = await claim_new(store)
    await store.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    ready = await store.status.set_phase(claim, Phase.READY)
    assert (ready.boot_source, ready.template_id) == (None, template.id)
    recovering = await store.provisioning.begin(claim, None, template_id=template.id)
    assert (recovering.boot_source, recovering.template_id) == (None, template.id)
    assert recovering.keeps_disks


async def test_nothing_begins_that_is_over(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.FAILED)
    with pytest.raises(Internal):
        await store.provisioning.begin(claim, IMAGE)


async def test_only_who_has_the_claim_may_write(store: Store) -> None:
    claim = await claim_new(store)
    await set_back(store, claim.cluster.id, clusters.c.lease_expires_at)
    await claim_one(store, "heir")
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: store.provisioning.begin(claim, IMAGE),
        lambda: store.provisioning.set_paused(claim, paused=True),
        lambda: store.provisioning.saw_traffic(claim, 7),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            await write()


async def test_a_cluster_that_was_just_claimed_is_paused_and_due(store: Store) -> None:
    ready = await make_ready(store)
    await store.maintenance.requeue([ready.id])
    claim = await claim_one(store)
    paused = await store.provisioning.set_paused(claim, paused=True)
    assert paused.paused
    await store.leases.release(claim, due_in_seconds=None)
    claim = await claim_one(store)
    assert not (await store.provisioning.set_paused(claim, paused=False)).paused
    await store.leases.release(claim, due_in_seconds=None)
    assert await store.leases.seconds_until_due() is None


async def test_machines_that_begin_again_do_not_stand_still(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.provisioning.set_paused(claim, paused=True)
    assert not (await store.provisioning.begin(claim, None)).paused


async def test_traffic_is_remembered_and_when_there_was_some(store: Store) -> None:
    claim = await claim_new(store, idle_seconds=400)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    assert (claim.cluster.traffic, claim.cluster.active_at) == (0, None)
    busy = await store.provisioning.saw_traffic(claim, 2**40)
    assert busy.traffic == 2**40
    assert busy.active_at is not None
    await store.leases.release(claim, due_in_seconds=None)
    seconds = await store.leases.seconds_until_due()
    assert seconds is not None
    assert 90 <= seconds <= 100, "it is looked at again, for it may be idle"


async def test_who_may_be_a_fork_counts_with_less_memory_until_it_is_none(store: Store) -> None:
    spec = make_spec()
    await store.clusters.create(NewCluster("shared", spec, memory_factor=2.0))
    await store.clusters.create(
        NewCluster("strict", spec.model_copy(update={"isolation": "strict"}), memory_factor=2.0)
    )
    needs = {waiting.id: waiting.needs for waiting in (await store.admission.queue()).waiting}
    shared = await store.clusters.get("shared")
    assert needs[shared.id] == demand(spec, memory_factor=2.0)
    assert needs[(await store.clusters.get("strict")).id] == demand(spec)
    await admit_all(store)
    claims = {claim.cluster.name: claim for claim in await store.leases.claim("worker", lease_seconds=60, limit=2)}
    await store.provisioning.begin(claims["shared"], IMAGE)
    occupants = await store.admission.occupants()
    assert [occupant.needs for occupant in occupants] == [demand(spec), demand(spec)]


async def test_a_fork_that_recovers_counts_with_all_its_memory(store: Store) -> None:
    spec = make_spec()
    template = await make_template(store)
    await store.clusters.create(NewCluster("shared", spec, memory_factor=2.0))
    await admit_all(store)
    claim = await claim_one(store)
    await store.provisioning.begin(claim, TEMPLATE, template_id=template.id)
    await move(store, claim, Phase.READY)
    [occupant] = await store.admission.occupants()
    assert occupant.needs == demand(spec, memory_factor=2.0)
    await move(store, claim, Phase.PROVISIONING)
    [occupant] = await store.admission.occupants()
    assert occupant.needs == demand(spec), "it boots: nothing is shared any more"
