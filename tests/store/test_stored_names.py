"""Renamed values: rows keep the old value, which workers of the previous version read and write."""

from __future__ import annotations

import pytest
from sqlalchemy import DateTime, bindparam, text

from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Fault, NewEvent, Purpose, StepReport, StepState
from dayfly.domain.pool import PoolCondition
from dayfly.store import NewPool, Store
from dayfly.store.db.stored_names import (
    CHECKPOINT_PHASES,
    CODES,
    PURPOSES,
    STEPS,
    TEMPLATE_PHASES,
    Renames,
    present,
    stored,
)
from dayfly.vocabulary import CLUSTER_NAME, TemplatePhase
from tests.store.helpers import claim_new, make_ready, make_template
from tests.support.specs import make_spec

CODE = "engine_unavailable"
STORED_CODE = "docker_unavailable"


async def raw(store: Store, query: str) -> list[object]:
    """The values of `query`'s only column, as stored."""
    async with store._database.read() as connection:
        return list((await connection.execute(text(query))).scalars())


@pytest.mark.parametrize("names", [CHECKPOINT_PHASES, CODES, PURPOSES, STEPS, TEMPLATE_PHASES])
def test_each_stored_value_has_one_name(names: Renames) -> None:
    assert len(set(names.values())) == len(names)
    assert {name: present(names, stored(names, name)) for name in names} == {name: name for name in names}


async def test_codes_of_events_steps_and_faults(store: Store) -> None:
    claim = await claim_new(store)
    report = StepReport("boot", None, StepState.WAITING, 1, claim.at, error_code=CODE)
    await store.status.record(claim, [report, NewEvent("step.waiting", "it waits", code=CODE)])
    await store.status.set_phase(claim, Phase.PROVISIONING)
    failed = await store.status.set_phase(claim, Phase.FAILED, fault=Fault(CODE, "no answer", step="boot"))
    assert await raw(store, "SELECT error_code FROM steps") == [STORED_CODE]
    assert STORED_CODE in await raw(store, "SELECT code FROM events")
    assert STORED_CODE in str(await raw(store, "SELECT fault FROM clusters"))
    assert failed.fault == Fault(CODE, "no answer", step="boot")
    assert [step.error_code for step in await store.clusters.steps(claim.cluster.id)] == [CODE]
    assert {event.code for event in await store.clusters.events(claim.cluster.id)} == {CODE, None}


async def test_steps_of_reports_events_and_faults(store: Store) -> None:
    claim = await claim_new(store)
    report = StepReport("restore", None, StepState.RUNNING, 1, claim.at)
    await store.status.record(claim, [report, NewEvent("step.started", "it begins", step="restore")])
    await store.status.set_phase(claim, Phase.PROVISIONING)
    failed = await store.status.set_phase(claim, Phase.FAILED, fault=Fault("command_failed", "no", step="restore"))
    assert await raw(store, "SELECT name FROM steps") == ["load"]
    assert "load" in await raw(store, "SELECT step FROM events")
    assert "load" in str(await raw(store, "SELECT fault FROM clusters"))
    assert failed.fault == Fault("command_failed", "no", step="restore")
    assert [step.name for step in await store.clusters.steps(claim.cluster.id)] == ["restore"]
    assert {event.step for event in await store.clusters.events(claim.cluster.id)} == {"restore", None}


async def test_a_cluster_that_is_provisioned_during_an_upgrade_has_one_report_of_each_step(store: Store) -> None:
    claim = await claim_new(store)
    async with store._database.write() as transaction:
        row = (
            "INSERT INTO steps (cluster_id, name, node, state, attempt, started_at, detail)"
            " VALUES (:id, 'identify', 'node01', 'running', 1, :at, '')"
        )
        at = DateTime(timezone=True)
        written = text(row).bindparams(bindparam("at", type_=at))
        await transaction.connection.execute(written, {"id": claim.cluster.id, "at": claim.at})
    await store.status.record(claim, [StepReport("personalize", "node01", StepState.DONE, 2, claim.at)])
    [step] = await store.clusters.steps(claim.cluster.id)
    assert (step.name, step.state, step.attempt) == ("personalize", StepState.DONE, 2)


async def test_why_a_pool_is_not_filled(store: Store) -> None:
    pool = await store.pools.create(NewPool("warm", "default", make_spec(), size=1, maximum=1))
    condition = PoolCondition(CODE, "no answer")
    await store.pools.set_condition(pool.id, condition)
    assert STORED_CODE in str(await raw(store, "SELECT waiting FROM pools"))
    assert (await store.pools.get(pool.id)).condition == condition


async def test_purposes(store: Store) -> None:
    await make_template(store)
    pool = await store.pools.create(NewPool("warm", "default", make_spec(), size=1, maximum=1))
    await store.pools.refill(pool.id, 1, make_spec())
    assert set(await raw(store, "SELECT purpose FROM clusters")) == {"member", "template", "trial"}
    for purpose, value in PURPOSES.items():
        [found] = (await store.clusters.list(purposes={Purpose(purpose)}, phases=set(Phase))).clusters
        assert (found.purpose, stored(PURPOSES, purpose)) == (purpose, value)
        assert CLUSTER_NAME.fullmatch(found.name)


async def test_phases_of_templates(store: Store) -> None:
    builder, _ = await store.templates.create(make_spec(), "default", "key")
    assert builder.phase is TemplatePhase.BUILDING
    assert await raw(store, "SELECT phase FROM templates") == ["making"]
    assert await store.templates.create(make_spec(), "default", "key") == (builder, False), "its index knows the value"
    template = await make_template(store)
    assert (await store.templates.retire(template.id)).phase is TemplatePhase.RETIRING
    assert await raw(store, "SELECT phase FROM templates") == ["retired"]
    assert await store.templates.close() == (template.id,)
    assert await raw(store, "SELECT phase FROM templates") == ["gone"]
    assert await store.templates.known() == {template.id: TemplatePhase.RETIRED}
    assert await store.templates.list() == ()


async def test_phases_of_checkpoints(store: Store) -> None:
    cluster = await make_ready(store, "demo")
    checkpoint = await store.checkpoints.create(cluster.id, "before")
    assert checkpoint.phase is CheckpointPhase.CREATING
    assert await raw(store, "SELECT phase FROM checkpoints") == ["making"]
    assert await store.checkpoints.list(cluster.id) == (checkpoint,)
