"""Workers' status updates: phases, steps, events, endpoints, secrets, evidence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from dayfly.domain.cluster.lifecycle import TRANSITIONS, Phase
from dayfly.domain.cluster.model import Endpoint, Fault, NewEvent, StepReport, StepState
from dayfly.domain.security.secrets import new_secrets
from dayfly.errors import Internal, NotFound
from dayfly.store import Store
from dayfly.store.clusters.status_updates import EVIDENCE_BYTES
from tests.store.helpers import claim_new, move, reported
from tests.support.specs import make_spec

_NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


async def test_the_way_to_ready(store: Store) -> None:
    claim = await claim_new(store)
    provisioning = await store.status.set_phase(claim, Phase.PROVISIONING)
    assert provisioning.ready_at is None
    ready = await store.status.set_phase(claim, Phase.READY)
    assert ready == await store.clusters.get(claim.cluster.id)
    assert ready.ready_at == ready.updated_at
    assert ready.updated_at >= provisioning.updated_at >= claim.cluster.created_at
    events = await reported(store, claim.cluster.id)
    assert [(event.type, event.message) for event in events] == [
        ("phase", "pending → provisioning"),
        ("phase", "provisioning → ready"),
    ]
    assert ready.ready_at is not None
    assert events[1].seconds == pytest.approx((ready.ready_at - ready.created_at).total_seconds())


@pytest.mark.parametrize("phase", sorted(set(Phase) - {new for old, new in TRANSITIONS if old == "pending"}))
async def test_a_move_that_the_table_has_not_changes_nothing(store: Store, phase: Phase) -> None:
    claim = await claim_new(store)
    fault = Fault("vm_exited", "gone", evidence={"console": "text"})
    with pytest.raises(Internal):
        await store.status.set_phase(claim, phase, fault=fault)
    assert await store.clusters.get(claim.cluster.id) == claim.cluster
    assert await reported(store, claim.cluster.id) == ()
    assert await store.clusters.evidence(claim.cluster.id) == {}


async def test_an_event_given_with_a_phase_is_recorded_before_it_or_not_at_all(store: Store) -> None:
    claim = await claim_new(store)
    told = NewEvent("cluster.expired", "its time is over")
    with pytest.raises(Internal):
        await store.status.set_phase(claim, Phase.READY, event=told)
    assert await reported(store, claim.cluster.id) == ()
    await store.status.set_phase(claim, Phase.DELETING, event=told)
    over, phase = await reported(store, claim.cluster.id)
    assert (over.type, phase.type, over.at) == ("cluster.expired", "phase", phase.at)


async def test_a_fault_is_kept_and_its_evidence_beside_it(store: Store) -> None:
    claim = await claim_new(store)
    fault = Fault("vm_exited", "QEMU ended", "boot", "node01", {"console": "panic"})
    await move(store, claim, Phase.PROVISIONING)
    failed = await store.status.set_phase(claim, Phase.FAILED, fault=fault)
    assert failed.fault == replace(fault, evidence={})
    assert await store.clusters.evidence(claim.cluster.id) == {"console": "panic"}
    event = (await store.clusters.events(claim.cluster.id))[-1]
    assert (event.code, event.step, event.node) == ("vm_exited", "boot", "node01")
    await move(store, claim, Phase.DELETING, Phase.DELETED)
    assert (await store.clusters.get(claim.cluster.id)).fault == replace(fault, evidence={})


async def test_of_a_deleted_cluster_nothing_secret_is_left(store: Store) -> None:
    claim = await claim_new(store)
    secrets = new_secrets(make_spec(), _NOW)
    assert await store.clusters.secrets(claim.cluster.id) is None
    await store.status.save_secrets(claim, new_secrets(make_spec(), _NOW))
    await store.status.save_secrets(claim, secrets)
    await store.status.set_endpoints(claim, {22: Endpoint("127.0.0.1", 40001)})
    assert await store.clusters.secrets(claim.cluster.id) == secrets
    await move(store, claim, Phase.DELETING)
    assert await store.clusters.secrets(claim.cluster.id) == secrets
    gone = await store.status.set_phase(claim, Phase.DELETED)
    assert await store.clusters.secrets(claim.cluster.id) is None
    assert gone.deleted_at == gone.updated_at
    assert gone.endpoints == {}


async def test_endpoints_are_replaced(store: Store) -> None:
    claim = await claim_new(store)
    await store.status.set_endpoints(claim, {2201: Endpoint("127.0.0.1", 40001), 5000: Endpoint("::1", 40002)})
    await store.status.set_endpoints(claim, {6443: Endpoint("127.0.0.1", 40003)})
    assert (await store.clusters.get(claim.cluster.id)).endpoints == {6443: Endpoint("127.0.0.1", 40003)}


async def test_one_row_a_step_in_the_order_in_which_they_began(store: Store) -> None:
    claim = await claim_new(store)
    sandbox = StepReport("sandbox", None, StepState.RUNNING, 1, _NOW)
    boots = [StepReport("boot", f"node0{i}", StepState.RUNNING, 1, _NOW) for i in (1, 2)]
    for report in (sandbox, *boots):
        await store.status.record(claim, [report])
    retried = replace(sandbox, attempt=2, started_at=_NOW + timedelta(hours=1))
    failed = replace(boots[0], state=StepState.FAILED, finished_at=_NOW, detail="no answer", error_code="ssh_timeout")
    await store.status.record(claim, [retried])
    await store.status.record(claim, [failed])
    assert await store.clusters.steps(claim.cluster.id) == (retried, failed, boots[1])


async def test_times_are_the_same_in_every_zone(store: Store) -> None:
    claim = await claim_new(store)
    elsewhere = _NOW.astimezone(timezone(timedelta(hours=5)))
    await store.status.record(claim, [StepReport("boot", None, StepState.DONE, 1, elsewhere)])
    [report] = await store.clusters.steps(claim.cluster.id)
    assert report.started_at == _NOW
    assert report.started_at.utcoffset() == timedelta(0)


async def test_events_are_read_in_order_and_from_where_one_stopped(store: Store) -> None:
    claim = await claim_new(store)
    for i in range(5):
        await store.status.append_event(claim, NewEvent("step.progress", f"{i}", "boot", "node01", 1.5, "c"))
    events = await reported(store, claim.cluster.id)
    assert [event.message for event in events] == ["0", "1", "2", "3", "4"]
    assert [event.id for event in events] == sorted({event.id for event in events})
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert (events[0].step, events[0].node, events[0].seconds, events[0].code) == ("boot", "node01", 1.5, "c")
    assert await store.clusters.events(claim.cluster.id, after=events[1].id, limit=2) == events[2:4]
    assert await store.clusters.events(claim.cluster.id, after=events[-1].id) == ()


async def test_a_reader_that_continues_after_the_last_event_misses_none(store: Store) -> None:
    claim = await claim_new(store)
    seen: list[str] = []

    async def read() -> None:
        last = (await store.clusters.events(claim.cluster.id))[-1].id
        with store.watch(claim.cluster.id) as watch:
            while len(seen) < 40:
                found = await store.clusters.events(claim.cluster.id, after=last)
                seen.extend(event.message for event in found)
                last = found[-1].id if found else last
                if not found:
                    assert await watch.wait(10)

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        for i in range(40):
            group.create_task(store.status.append_event(claim, NewEvent("step.progress", f"{i}")))
    assert sorted(seen, key=int) == [f"{i}" for i in range(40)]


async def test_of_evidence_the_end_is_kept(store: Store) -> None:
    claim = await claim_new(store)
    await store.status.save_evidence(claim, {"console": "x" * EVIDENCE_BYTES + "é" * 10, "other": "kept"})
    await store.status.save_evidence(claim, {"stderr": "nul \0 and lone \ud800."})
    await store.status.save_evidence(claim, {"other": "newer"})
    evidence = await store.clusters.evidence(claim.cluster.id)
    assert len(evidence["console"].encode()) == EVIDENCE_BYTES
    assert evidence["console"].endswith("x" + "é" * 10)
    assert evidence["stderr"] == "nul \ufffd and lone \ufffd."
    assert evidence["other"] == "newer"


async def test_evidence_is_never_cut_within_a_character(store: Store) -> None:
    claim = await claim_new(store)
    await store.status.save_evidence(claim, {"console": "€" * EVIDENCE_BYTES})
    text = (await store.clusters.evidence(claim.cluster.id))["console"]
    assert set(text) == {"€"}
    assert EVIDENCE_BYTES - 3 < len(text.encode()) <= EVIDENCE_BYTES


async def test_a_cluster_knows_only_its_own(store: Store) -> None:
    first, second = await claim_new(store, "first"), await claim_new(store, "second")
    await store.status.append_event(first, NewEvent("step.done", "mine"))
    await store.status.record(first, [StepReport("boot", None, StepState.DONE, 1, _NOW)])
    await store.status.save_evidence(first, {"console": "mine"})
    await store.status.save_secrets(first, new_secrets(make_spec(), _NOW))
    other = second.cluster.id
    assert await reported(store, other) == ()
    assert await store.clusters.steps(other) == ()
    assert await store.clusters.evidence(other) == {}
    assert await store.clusters.secrets(other) is None
    with pytest.raises(NotFound):
        await store.clusters.get("third")


async def test_restarts_are_counted(store: Store) -> None:
    claim = await claim_new(store)
    assert (claim.cluster.restarts, claim.cluster.restarted_at) == (0, None)
    counted = await store.status.count_restart(claim, 3)
    assert counted.restarts == 3
    assert counted.restarted_at is not None
    assert await store.clusters.get(counted.id) == counted
