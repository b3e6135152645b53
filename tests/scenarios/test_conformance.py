"""Clusters whose list of conformance specs passes before they are ready: new ones, forks, resets; workers that die."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.boot_source import IMAGE, BootSource
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.steps.conformance import FAILURES, REPORT
from dayfly.store import Store
from tests.support.conformance import ONE, TWO, ConformanceProgram
from tests.support.specs import make_spec
from tests.support.world import World

LIST = (ONE, TWO)


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.fixture
def program(world: World) -> ConformanceProgram:
    return ConformanceProgram().installed(world.ssh)


def spec() -> ClusterSpec:
    return make_spec(workers=1, kubernetes=True, conformance=LIST)


def of_template() -> ClusterSpec:
    """The shape of spec(), as a caller may ask for a template of it."""
    return spec().model_copy(update={"conformance": ()})


async def ready(world: World) -> Cluster:
    return await world.until(await world.create(spec()), Phase.READY, Phase.FAILED)


async def progress(world: World, cluster: Cluster) -> list[str]:
    events = await world.store.clusters.events(cluster.id)
    return [one.message for one in events if (one.type, one.step) == ("step.progress", "conformance")]


async def reset(world: World, cluster: Cluster, to: BootSource = IMAGE) -> Cluster:
    before = await world.store.lifecycle.reset(cluster.id, to)
    return await world.until_so(
        cluster,
        lambda now: now.phase is Phase.FAILED or (now.phase is Phase.READY and now.generation > before.generation),
    )


async def test_a_new_cluster_is_ready_after_its_list_and_so_is_a_reset_one(
    world: World, program: ConformanceProgram
) -> None:
    async with world.working():
        cluster = await ready(world)
        assert cluster.phase is Phase.READY
        assert [step.name for step in await world.store.clusters.steps(cluster.id)][-2:] == ["ready", "conformance"]
        assert f"spec 2 of 2 passed after 38 s: {TWO}" in await progress(world, cluster)
        assert program.started == [LIST]
        assert (await reset(world, cluster)).phase is Phase.READY
    assert program.started == [LIST, LIST]


async def test_a_fork_of_a_usable_template_runs_its_own_list(world: World, program: ConformanceProgram) -> None:
    async with world.working():
        template = await world.template(of_template())
        assert program.started == []
        fork = await ready(world)
        assert (fork.phase, fork.template_id, program.started) == (Phase.READY, template.id, [LIST])
        again = await reset(world, fork)
    assert (again.phase, again.template_id, program.started) == (Phase.READY, template.id, [LIST, LIST])


async def test_a_failed_spec_fails_a_fork_and_is_no_fault_of_its_template(
    world: World, program: ConformanceProgram
) -> None:
    program.outcomes[TWO] = "failed"
    async with world.working():
        template = await world.template(of_template())
        failed = await ready(world)
        assert failed.fault is not None
        assert (failed.phase, failed.fault.code, failed.fault.step) == (
            Phase.FAILED,
            "conformance_failed",
            "conformance",
        )
        assert failed.fault.message == f"1 of 2 conformance specs failed: {TWO}: it broke"
        assert failed.template_id == template.id
        assert program.started == [LIST]
    evidence = await world.store.clusters.evidence(failed.id)
    assert evidence[f"conformance/{FAILURES}"] == f"{TWO}: it broke\n"
    assert evidence[f"conformance/{REPORT}"].startswith("<testsuite")
    assert "cluster.fallback" not in [one.type for one in await world.store.clusters.events(failed.id)]
    [known] = await world.store.templates.list()
    assert known.failures == 0


async def test_a_recovered_cluster_does_not_run_its_list_beside_what_its_caller_runs(
    world: World, program: ConformanceProgram
) -> None:
    async with world.working():
        cluster = await ready(world)
        world.engine.restart_engine()
        await world.until_event(cluster, lambda event: event.type == "cluster.recovered")
        assert (await world.until(cluster, Phase.READY, Phase.FAILED)).phase is Phase.READY
    assert program.started == [LIST]


@pytest.mark.parametrize("calls", [1, 3, 7])
async def test_a_list_is_run_once_whenever_workers_die(world: World, program: ConformanceProgram, calls: int) -> None:
    cluster = await world.create(spec())

    async def settled() -> bool:
        return (await world.store.clusters.get(cluster.id)).phase in {Phase.READY, Phase.FAILED}

    await world.work_in_pieces(calls, settled)
    assert (await world.store.clusters.get(cluster.id)).phase is Phase.READY
    assert program.started == [LIST]
