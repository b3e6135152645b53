"""Garbage collection removes exactly the orphans: decoys of every kind stay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from dayfly import metrics
from dayfly.controllers import gc
from dayfly.controllers.gc import find_damaged
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE, saved_volume, template_volume
from dayfly.domain.engine_resource import EngineResource
from dayfly.errors import EngineRefused, EngineUnavailable, NotRemoved
from dayfly.store import Change, Known, Store
from tests.support.specs import make_spec
from tests.support.template_controllers import Company
from tests.support.world import World

Kind = Literal["container", "volume", "network"]
OURS = {LABEL_INSTANCE: "default"}


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def everything(world: World) -> set[tuple[Kind, str]]:
    engine = world.engine
    kinds: dict[Kind, Iterable[str]] = {
        "container": engine.containers,
        "volume": engine.volumes,
        "network": engine.networks,
    }
    return {(kind, name) for kind, things in kinds.items() for name in things}


async def test_decoys_stay_and_orphans_go(world: World) -> None:
    async with world.working():
        living = await world.until(await world.create(make_spec()), Phase.READY)
        gone = await world.until(await world.create(make_spec()), Phase.READY)
        await world.store.lifecycle.delete(gone.id)
        await world.until(gone, Phase.DELETED)
    decoys: dict[tuple[Kind, str], dict[str, str]] = {
        ("container", f"dayfly-{living.id}-node99"): {LABEL_INSTANCE: "default2", LABEL_CLUSTER: gone.id},
        ("container", f"dayfly-{gone.id}-node01-of-mine"): {},
        ("container", "dayfly"): {LABEL_INSTANCE: "another", LABEL_CLUSTER: gone.id},
        ("volume", f"dayfly-{gone.id}-data"): {LABEL_CLUSTER: gone.id},
        ("volume", f"dayfly-{living.id}-data"): {**OURS, LABEL_CLUSTER: living.id},
        ("network", f"dayfly-{gone.id}"): {LABEL_INSTANCE: "defaul"},
    }
    orphans: dict[tuple[Kind, str], dict[str, str]] = {
        ("container", f"dayfly-{gone.id}-late"): {**OURS, LABEL_CLUSTER: gone.id},
        ("container", "whatever"): {**OURS, LABEL_CLUSTER: "0123456789ab"},
        ("volume", "ours"): {**OURS, LABEL_CLUSTER: gone.id},
        ("network", "ours"): {**OURS, LABEL_CLUSTER: gone.id},
    }
    for (kind, name), labels in {**decoys, **orphans}.items():
        world.engine.plant(kind, name, labels)
    removed = metrics.REGISTRY.get_sample_value("dayfly_orphans_removed_total", {"kind": "container"})
    assert removed is not None
    collector = world.collector()
    found = {(orphan.resource.kind, orphan.resource.name) for orphan in await collector.orphans()}
    assert found == set(orphans)
    await collector.look()
    assert set(decoys) <= everything(world)
    assert not set(orphans) & everything(world)
    assert await collector.orphans() == ()
    assert metrics.REGISTRY.get_sample_value("dayfly_orphans_removed_total", {"kind": "container"}) == removed + 2
    assert len([name for name in world.engine.containers if living.id in name]) == 3 + 1


async def test_an_operator_removes_orphans_without_grace_and_is_told_of_those_that_stay(world: World) -> None:
    for name in ("unknown", "stuck"):
        world.engine.plant("container", name, {**OURS, LABEL_CLUSTER: "0123456789ab"})
    world.engine.survivors.add("stuck")
    collector = world.collector(grace_seconds=600)
    found = await collector.orphans()
    assert {(one.resource.name, one.resource.cluster_id, one.resource.template_id, one.error) for one in found} == {
        ("unknown", "0123456789ab", "", None),
        ("stuck", "0123456789ab", "", None),
    }
    removed = {one.resource.name: one.error for one in await collector.remove_orphans(found)}
    assert removed["unknown"] is None
    assert "stuck" in str(removed["stuck"])
    assert everything(world) == {("container", "stuck")}


async def test_what_was_never_on_record_is_left_alone_for_a_while(world: World) -> None:
    world.engine.plant("container", "unknown", {**OURS, LABEL_CLUSTER: "0123456789ab"})
    collector = world.collector(grace_seconds=600)
    await collector.look()
    assert ("container", "unknown") in everything(world)
    world.clock.advance(599)
    await collector.look()
    assert ("container", "unknown") in everything(world)
    world.clock.advance(2)
    await collector.look()
    assert ("container", "unknown") not in everything(world)


async def test_a_cluster_that_is_being_made_is_never_swept(world: World) -> None:
    gate = world.ssh.block("wait")
    async with world.working():
        cluster = await world.create(make_spec())
        await gate.reached.wait()
        assert await world.collector().orphans() == ()
        gate.open()
        await world.until(cluster, Phase.READY)
        assert await world.collector().orphans() == ()


async def test_a_container_that_came_late_to_a_failed_cluster_goes(world: World) -> None:
    world.ssh.never_answers()
    async with world.working():
        failed = await world.until(await world.create(make_spec()), Phase.FAILED)
    world.engine.plant("container", f"dayfly-{failed.id}-node01", {**OURS, LABEL_CLUSTER: failed.id})
    await world.collector().look()
    assert not world.engine.containers


async def test_the_volume_of_a_template_goes_with_it_and_no_other(world: World) -> None:
    company = Company(world.store)
    gone = await company.make_template()
    ready = await company.make_template(make_spec(workers=1))
    volumes = {
        template_volume(gone.id): {**OURS, LABEL_TEMPLATE: gone.id},
        template_volume(ready.id): {**OURS, LABEL_TEMPLATE: ready.id},
        f"{template_volume(gone.id)}-2": {LABEL_INSTANCE: "default2", LABEL_TEMPLATE: gone.id},
        f"{template_volume(gone.id)}-mine": {},
        f"{template_volume(gone.id)}-foreign": {LABEL_TEMPLATE: gone.id},
    }
    for name, labels in volumes.items():
        world.engine.plant("volume", name, labels)
    collector = world.collector()
    assert await collector.orphans() == ()
    await world.store.templates.retire(gone.id)
    assert await collector.orphans() == (), "retired: forks may read it still"
    await company.templates().close()
    (orphan,) = await collector.orphans()
    assert (orphan.resource.name, orphan.on_record) == (template_volume(gone.id), True)
    world.engine.in_use.add(template_volume(gone.id))
    await collector.look()
    assert set(volumes) <= set(world.engine.volumes), "one that is in use is left for later"
    world.engine.in_use.clear()
    await collector.look()
    assert set(volumes) & set(world.engine.volumes) == set(volumes) - {template_volume(gone.id)}


async def test_half_a_template_is_swept(world: World) -> None:
    company = Company(world.store)
    company.broken = {Purpose.VERIFICATION}
    half, _ = await world.store.templates.create(make_spec(), "default", "key")
    world.engine.plant("volume", template_volume(half.id), {**OURS, LABEL_TEMPLATE: half.id})
    collector = world.collector()
    await collector.look()
    assert template_volume(half.id) in world.engine.volumes, "it is being made"
    await company.work()
    await collector.look()
    assert template_volume(half.id) not in world.engine.volumes


async def test_the_volume_of_an_unknown_template_is_left_alone_for_a_while(world: World) -> None:
    world.engine.plant("volume", "unknown", {**OURS, LABEL_TEMPLATE: "0123456789ab"})
    collector = world.collector(grace_seconds=600)
    await collector.look()
    world.clock.advance(599)
    await collector.look()
    assert "unknown" in world.engine.volumes
    world.clock.advance(2)
    await collector.look()
    assert "unknown" not in world.engine.volumes


async def test_what_a_living_cluster_has_stays_whatever_template_it_names(world: World) -> None:
    async with world.working():
        living = await world.until(await world.create(make_spec()), Phase.READY)
    labels = {**OURS, LABEL_CLUSTER: living.id, LABEL_TEMPLATE: "0123456789ab"}
    world.engine.plant("volume", "both", labels)
    await world.collector().look()
    assert "both" in world.engine.volumes


async def test_nothing_is_removed_that_has_become_another_templates(world: World) -> None:
    world.engine.plant("volume", "v", {**OURS, LABEL_TEMPLATE: "0123456789ab"})
    (seen,) = await world.engine.list_resources()
    world.engine.plant("volume", "v", {**OURS, LABEL_TEMPLATE: "ba9876543210"})
    with pytest.raises(EngineRefused):
        await world.engine.discard(seen)
    assert "v" in world.engine.volumes


async def test_a_cluster_that_is_to_be_woken_up_keeps_its_disks(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
    await world.store.lifecycle.hibernate(cluster.id)
    (claim,) = await world.store.leases.claim("test", lease_seconds=60, limit=1)
    world.engine.exit(f"dayfly-{cluster.id}-node01", 0)
    await world.store.status.set_phase(claim, Phase.HIBERNATED)
    await world.store.leases.release(claim, due_in_seconds=None)
    assert await world.collector().orphans() == ()
    await world.store.lifecycle.resume(cluster.id)
    (claim,) = await world.store.leases.claim("test", lease_seconds=60, limit=1)
    waiting = await world.store.status.set_phase(claim, Phase.PENDING)
    assert not waiting.reserved
    assert await world.collector().orphans() == ()


@pytest.mark.parametrize(
    ("phase", "desired", "damaged"),
    [
        (Phase.READY, Desired.PRESENT, True),
        (Phase.READY, Desired.HIBERNATED, False),
        (Phase.HIBERNATED, Desired.HIBERNATED, False),
        (Phase.HIBERNATED, Desired.PRESENT, False),
        (Phase.READY, Desired.ABSENT, False),
    ],
)
def test_who_hibernates_is_not_damaged(phase: Phase, desired: Desired, damaged: bool) -> None:
    one_of_three = [EngineResource("container", "1", "dayfly-a-net", "a", running=True)]
    known = [Known("a", phase, desired, reserved=True, containers=3, begun=True)]
    assert bool(find_damaged(one_of_three, known)) is damaged


async def test_history_is_forgotten_when_its_time_is_over(world: World) -> None:
    async with world.working():
        cluster = await world.create(make_spec())
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    await world.collector().look()
    assert (await world.store.clusters.get(cluster.id)).phase is Phase.DELETED
    await world.collector(history_seconds=0.0).look()
    assert not (await world.store.clusters.list(phases=list(Phase))).clusters


async def test_events_beyond_the_bound_are_forgotten_once_an_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "MOST_EVENTS", 3)
    async with world.working():
        cluster = await world.create(make_spec())
        await world.until(cluster, Phase.READY)
    collector = world.collector()
    await collector.look()
    newest = await world.store.clusters.events(cluster.id)
    assert len(newest) == 3
    for number in range(5):
        await world.store.updates.change(cluster.id, Change(ttl_seconds=36000 + number))
    await collector.look()
    assert len(more := await world.store.clusters.events(cluster.id)) > 3
    world.clock.advance(3600)
    await collector.look()
    assert await world.store.clusters.events(cluster.id) == more[-3:]


async def test_what_survives_its_removal_is_tried_again(world: World) -> None:
    world.engine.plant("volume", "ours", {**OURS, LABEL_CLUSTER: "0123456789ab"})
    world.engine.survivors.add("ours")
    collector = world.collector()
    (orphan,) = await collector.orphans()
    with pytest.raises(NotRemoved):
        await collector.remove(orphan)
    await collector.look()
    assert "ours" in world.engine.volumes
    world.engine.survivors.clear()
    await collector.look()
    assert "ours" not in world.engine.volumes


async def test_volumes_without_labels_go_by_the_names_of_what_is_on_record_as_gone(world: World) -> None:
    """As versions before 0.3 left them on Podman."""
    world.engine.host = replace(world.engine.host, name="Podman")
    async with world.working():
        living = await world.until(await world.create(make_spec()), Phase.READY)
        gone = await world.until(await world.create(make_spec()), Phase.READY)
        await world.store.lifecycle.delete(gone.id)
        await world.until(gone, Phase.DELETED)
    decoys: dict[str, dict[str, str]] = {
        saved_volume(living.id): {},
        saved_volume("0123456789ab"): {},
        f"{saved_volume(gone.id)}-2": {},
        f"my-{saved_volume(gone.id)}": {},
        template_volume("0123456789ab"): {},
    }
    for name, labels in {**decoys, saved_volume(gone.id): {}}.items():
        world.engine.plant("volume", name, labels)
    collector = world.collector()
    assert {orphan.resource.name for orphan in await collector.orphans()} == {saved_volume(gone.id)}
    await collector.look()
    assert set(world.engine.volumes) == set(decoys)


async def test_a_sweep_empties_the_log_of_the_database_even_without_an_engine(world: World, tmp_path: Path) -> None:
    """The log has what was deleted: secrets among it."""
    await world.create(make_spec())
    log = tmp_path / "dayfly.db-wal"
    assert await asyncio.to_thread(log.read_bytes)
    world.engine.fail_always(EngineUnavailable("nobody there"), "list_resources")
    with pytest.raises(EngineUnavailable):
        await world.collector().look()
    assert await asyncio.to_thread(log.read_bytes) == b""
