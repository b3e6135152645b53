"""Paused machines: pool members until a claim, and machines of an interrupted save."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, update

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Pool
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import CommandFailed, LeaseLost, SshTimeout
from dayfly.store import NewPool, Store
from dayfly.store.db.tables import template_secrets, templates
from dayfly.testing.fakes import FakeContainer
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec
from tests.support.world import GIVE_UP_SECONDS, World

SPEC = make_spec(workers=1)
NODES = ("node01", "node02")


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def member(world: World, spec: ClusterSpec = SPEC) -> tuple[Pool, Cluster]:
    """A pool's member that waits, and no worker has anything to do."""
    await world.template(spec)
    pool = await world.store.pools.create(NewPool("ci", "default", spec, size=1, maximum=4))
    await world.store.pools.refill(pool.id, 1, spec)
    (made,) = await world.store.pools.members(pool.id)
    return pool, await world.until_so(made, lambda now: now.paused or now.phase is Phase.FAILED)


async def goes_on(world: World, cluster: Cluster) -> Cluster:
    """The cluster, once no machine of it is paused."""
    now = await world.until_so(cluster, lambda now: now.phase is Phase.READY and not now.paused)
    for name in NODES:
        found = world.node(cluster, name)
        assert (found.vm_status, found.clock) == ("running", world.clock)
    return now


async def codes_of(world: World, cluster: Cluster, type_: str) -> list[str | None]:
    return [event.code for event in await world.store.clusters.events(cluster.id) if event.type == type_]


async def test_a_member_waits_without_using_a_processor(world: World) -> None:
    async with world.working():
        _, waiting = await member(world)
    assert (waiting.phase, waiting.purpose) == (Phase.READY, Purpose.POOL_MEMBER)
    assert waiting.template_id is not None
    assert {world.node(waiting, name).vm_status for name in NODES} == {"paused"}


async def test_whoever_gets_one_finds_it_running_with_its_clock_right(world: World) -> None:
    async with world.working():
        _, waiting = await member(world)
        memory = world.node(waiting, "node01").memory
        mine = await world.create(SPEC, "mine")
        assert (mine.id, mine.name, mine.phase) == (waiting.id, "mine", Phase.PENDING)
        after = await goes_on(world, mine)
    assert (after.purpose, after.generation, after.restarts) == (Purpose.CLUSTER, 1, 0)
    assert after.endpoints == waiting.endpoints
    assert world.node(after, "node01").memory == memory
    types = [event.type for event in await world.store.clusters.events(after.id)]
    assert "cluster.forked" not in types[types.index("cluster.claimed") :]


async def test_whoever_gets_one_has_other_keys_than_those_it_waited_with(world: World) -> None:
    async with world.working():
        _, waiting = await member(world)
        before = await world.store.clusters.secrets(waiting.id)
        mine = await goes_on(world, await world.create(SPEC))
    after = await world.store.clusters.secrets(mine.id)
    assert before is not None
    assert after is not None
    assert before.user_key != after.user_key
    assert {world.node(mine, name).identity for name in NODES} == {after.host_key.public}


async def test_whoever_gets_one_finds_nothing_that_was_pushed_before(world: World) -> None:
    """The member's port was open on the host, and its content would be pulled by the claimer's nodes."""
    emptied: list[str] = []

    def note(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ExecResult:
        if any("-delete" in word for word in argv):
            emptied.append(container.spec.name)
        return ExecResult(0, b"", b"")

    world.engine.on_exec(note)
    async with world.working():
        _, waiting = await member(world)
        assert not emptied
        mine = await goes_on(world, await world.create(SPEC))
    registry = f"dayfly-{waiting.id}-registry"
    assert mine.id == waiting.id
    assert emptied == [registry]


async def test_a_registry_that_cannot_be_emptied_is_created_anew(world: World) -> None:
    async with world.working():
        _, waiting = await member(world)
        before = world.engine.containers[f"dayfly-{waiting.id}-registry"].id
        world.engine.on_exec(lambda container, argv, stdin: ExecResult(1, b"", b"busy"))
        mine = await goes_on(world, await world.create(SPEC))
    assert world.engine.containers[f"dayfly-{mine.id}-registry"].id != before
    assert not await codes_of(world, mine, "cluster.fallback")


async def test_what_it_reported_before_the_claim_is_not_believed(world: World) -> None:
    """Its kubelets were healthy when it was paused; one does not answer since."""
    spec = make_spec(workers=1, kubernetes=True)
    async with world.working():
        await member(world, spec)
        world.kube.silent("node02")
        mine = await world.create(spec)
        await world.until_event(mine, lambda event: (event.type, event.code) == ("cluster.fallback", "node_not_ready"))


async def test_one_that_was_claimed_while_no_worker_ran_goes_on_with_the_next(world: World) -> None:
    async with world.working():
        await member(world)
    mine = await world.create(SPEC)
    async with world.working("next"):
        await goes_on(world, mine)


async def test_one_that_cannot_go_on_is_booted_from_its_image(world: World) -> None:
    async with world.working():
        await member(world)
        world.machines.fail_next("resume", CommandFailed("no"))
        after = await world.until(await world.create(SPEC), Phase.READY)
    assert after.template_id is None
    assert after.not_forked == "its fork failed: no"
    assert await codes_of(world, after, "cluster.fallback") == ["command_failed"]
    messages = [event.message for event in await world.store.clusters.events(after.id)]
    assert "falls back from its template to its image: no" in messages


async def test_a_worker_without_its_lease_removes_nothing_of_a_claimed_one(world: World) -> None:
    async with world.working():
        await member(world)
    async with world.store._database.write() as transaction:
        await transaction.connection.execute(delete(template_secrets))
    mine = await world.create(SPEC)
    (lost,) = await world.store.leases.claim("ghost", lease_seconds=60, limit=1)
    await world.store.leases.release(lost, due_in_seconds=0)
    with pytest.raises(LeaseLost):
        await world.reconciler().reconcile(lost)
    assert {world.node(mine, name).vm_status for name in NODES} == {"paused"}


async def test_one_whose_template_serves_no_more_is_booted_from_its_image(world: World) -> None:
    async with world.working():
        _, waiting = await member(world)
    async with world.store._database.write() as transaction:
        await transaction.connection.execute(update(templates).values(phase=TemplatePhase.FAILED))
    mine = await world.create(SPEC)
    async with world.working("next"):
        after = await world.until(mine, Phase.READY)
    assert (after.id, after.template_id) == (waiting.id, None)
    why = f"template {waiting.template_id} accepts no forks any more"
    assert after.not_forked == why
    messages = [event.message for event in await world.store.clusters.events(after.id)]
    assert f"boots from its image: {why}" in messages


def names_of(cluster: Cluster) -> list[str]:
    return [f"dayfly-{cluster.id}-{name}" for name in NODES]


async def until_late(world: World, cluster: Cluster) -> None:
    """Run until an event reports that a clock cannot be set, and a check is due soon."""
    await world.until_event(cluster, lambda event: (event.type, event.code) == ("cluster.resumed", "ssh_timeout"))
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while not 0 < (await world.store.leases.seconds_until_due() or 0) <= 5:  # noqa: ASYNC110 - nothing tells of a lease
            await asyncio.sleep(0.01)


async def test_one_whose_clock_cannot_be_set_yet_is_its_callers_all_the_same(world: World) -> None:
    async with world.working():
        mine = await world.until(await world.create(SPEC), Phase.READY)
        memories = [world.node(mine, name).memory for name in NODES]
        world.machines.fail_next("set_clock", SshTimeout("no agent"), times=7)
        await world.store.checkpoints.create(mine.id, "one")
        await until_late(world, mine)
        assert {world.node(mine, name).vm_status for name in NODES} == {"running"}
        for _ in range(2):
            await world.store.maintenance.requeue([mine.id])
            await asyncio.sleep(0.1)
        after = await goes_on(world, mine)
    assert (after.generation, after.restarts) == (1, 0)
    assert [world.node(after, name).memory for name in NODES] == memories
    assert await codes_of(world, mine, "cluster.resumed") == ["ssh_timeout", None], "each is told once"
    assert await codes_of(world, mine, "cluster.fallback") == []


async def test_one_that_does_not_answer_for_a_moment_is_left_as_it_is(world: World) -> None:
    async with world.working():
        mine = await world.until(await world.create(SPEC), Phase.READY)
        world.machines.fail_next("set_clock", SshTimeout("no agent"), times=3)
        await world.store.checkpoints.create(mine.id, "one")
        await until_late(world, mine)
        memories = [world.node(mine, name).memory for name in NODES]
        world.machines.fail_next("resume", CommandFailed("no"))
        await world.store.maintenance.requeue([mine.id])
        await world.until_event(mine, lambda event: event.type == "cluster.fallback")
        await until_late(world, mine)
        await world.store.maintenance.requeue([mine.id])
        after = await goes_on(world, mine)
    assert after.generation == 1
    assert [world.node(after, name).memory for name in NODES] == memories


async def test_a_clock_that_cannot_be_set_keeps_nothing_else_waiting(world: World) -> None:
    spec = SPEC.model_copy(update={"ttl_seconds": 3})
    async with world.working():
        mine = await world.until(await world.create(spec), Phase.READY)
        world.machines.agent_silent(*names_of(mine))
        for name in ("one", "two"):
            await world.store.checkpoints.create(mine.id, name)
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while await world.store.checkpoints.due(mine.id):  # noqa: ASYNC110 - whoever makes it
                    await asyncio.sleep(0.01)
            await until_late(world, mine)
        assert [one.phase for one in await world.store.checkpoints.list(mine.id)] == ["ready", "ready"]
        async with asyncio.timeout(4.5):
            await world.until(mine, Phase.DELETED)


@pytest.mark.parametrize("late", [False, True])
async def test_the_clocks_of_those_that_go_on_are_right_though_another_cannot(world: World, late: bool) -> None:
    async with world.working():
        mine = await world.until(await world.create(SPEC), Phase.READY)
        starts = world.node(mine, "node01").starts
        for name in names_of(mine):
            await world.machines.pause(name)
        world.node(mine, "node02").vm_status = "inmigrate"
        if late:
            world.machines.fail_next("set_clock", SshTimeout("no agent"))
        await world.store.maintenance.requeue([mine.id])
        await world.until_event(mine, lambda event: event.type == "cluster.fallback")
        assert late or world.node(mine, "node01").clock is world.clock, "it does not wait for the other to boot"
        await world.until_event(mine, lambda event: event.type == "cluster.recovered")
        after = await world.until_so(mine, lambda now: now.phase is Phase.READY and not now.paused)
    first, second = (world.node(after, name) for name in NODES)
    assert (first.vm_status, first.clock, first.starts) == ("running", world.clock, starts)
    assert (second.vm_status, second.starts) == ("running", starts + 1)
    assert await codes_of(world, mine, "cluster.fallback") == ["command_failed"]


async def test_all_its_machines_are_loaded_again_where_one_is_dead(world: World) -> None:
    """Those that waited are of a later moment than the template."""
    async with world.working():
        _, waiting = await member(world)
    starts = world.node(waiting, "node01").starts
    mine = await world.create(SPEC)
    world.engine.exit(f"dayfly-{mine.id}-node02", 139)
    async with world.working("next"):
        after = await goes_on(world, mine)
    assert (after.id, after.template_id) == (waiting.id, waiting.template_id)
    assert world.node(after, "node01").starts > starts
    assert await codes_of(world, mine, "cluster.fallback") == []


async def test_a_member_that_nobody_has_is_not_repaired(world: World) -> None:
    async with world.working():
        _, waiting = await member(world)
        world.engine.exit(f"dayfly-{waiting.id}-node02", 139)
        failed = await world.until(waiting, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "vm_exited"


async def test_a_member_that_cannot_be_paused_is_none(world: World) -> None:
    async with world.working():
        world.machines.fail_always(CommandFailed("no"), "pause")
        _, failed = await member(world)
    assert failed.phase is Phase.FAILED


async def test_a_member_whose_fork_fails_is_replaced_by_whoever_wants_it(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        world.machines.fail_next("load", CommandFailed("no"))
        pool = await world.store.pools.create(NewPool("ci", "default", SPEC, size=1, maximum=4))
        await world.store.pools.refill(pool.id, 1, SPEC)
        (made,) = await world.store.pools.members(pool.id)
        failed = await world.until(made, Phase.FAILED, Phase.READY)
    assert failed.phase is Phase.FAILED


async def test_what_was_used_and_cannot_go_on_is_booted_from_its_disks(world: World) -> None:
    async with world.working():
        await member(world)
        mine = await goes_on(world, await world.create(SPEC))
        disks = [world.node(mine, name).disk for name in NODES]
        gate = world.machines.block("save")
        await world.store.checkpoints.create(mine.id, "before")
        await gate.reached.wait()
    world.machines.fail_next("resume", CommandFailed("no"))
    gate.open()
    async with world.working("next"):
        await world.until_event(mine, lambda event: event.type == "cluster.recovered")
        after = await world.until_so(mine, lambda now: now.phase is Phase.READY and not now.paused)
    assert after.generation == 1
    assert [world.node(after, name).disk for name in NODES] == disks
    assert await codes_of(world, mine, "cluster.fallback") == ["command_failed"]


@pytest.mark.parametrize("kill_after", [1, 2, 3, 5, 8, 13, 21])
async def test_cut_off_anywhere_a_member_comes_to_wait_and_to_be_used(store: Store, kill_after: int) -> None:
    world = World(store)
    async with world.working():
        await world.template(SPEC)
    pool = await store.pools.create(NewPool("ci", "default", SPEC, size=1, maximum=4))
    await store.pools.refill(pool.id, 1, SPEC)
    (made,) = await store.pools.members(pool.id)

    async def waits() -> bool:
        return (await store.clusters.get(made.id)).paused

    async def runs() -> bool:
        now = await store.clusters.get(made.id)
        return now.phase is Phase.READY and not now.paused

    await world.work_in_pieces(kill_after, waits)
    assert {world.node(made, name).vm_status for name in NODES} == {"paused"}
    mine = await world.create(SPEC)
    assert mine.id == made.id
    await world.work_in_pieces(kill_after, runs)
    async with asyncio.timeout(GIVE_UP_SECONDS):
        assert (await goes_on(world, mine)).generation == 1


async def test_a_call_that_comes_late_of_a_worker_without_a_lease_is_put_right(world: World) -> None:
    world.lease_seconds = 0.2
    async with world.working("first"):
        mine = await world.until(await world.create(SPEC), Phase.READY)
    gate = world.machines.block("pause")
    await world.store.checkpoints.create(mine.id, "before")
    ghost = asyncio.create_task(
        world.reconciler().reconcile((await world.store.leases.claim("g", lease_seconds=0.2, limit=1))[0])
    )
    await gate.reached.wait()
    await asyncio.sleep(0.3)
    world.machines._gates.clear()
    async with world.working("second"):
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while await world.store.checkpoints.due(mine.id):  # noqa: ASYNC110 - whoever makes it
                await asyncio.sleep(0.01)
        gate.open()
        with pytest.raises(LeaseLost):
            await ghost
        await world.store.maintenance.requeue([mine.id])  # as its worker does
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while {world.node(mine, name).vm_status for name in NODES} != {"running"}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await goes_on(world, mine)


async def test_paused_nodes_that_do_not_answer_over_ssh_are_not_ready(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(SPEC), Phase.READY)
        world.ssh.never_answers()
        await world.store.checkpoints.create(cluster.id, "one")
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while await codes_of(world, cluster, "cluster.resumed") != ["ssh_timeout"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await world.store.clusters.get(cluster.id)).paused


async def test_a_caller_who_replaced_the_keys_has_the_cluster_back(world: World) -> None:
    async with world.working():
        cluster = await world.until(await world.create(SPEC), Phase.READY)
        await world.store.lifecycle.hibernate(cluster.id)
        await world.until(cluster, Phase.HIBERNATED)
        await world.until_so(cluster, lambda now: not now.paused)
        world.ssh.refuses()
        await world.store.lifecycle.resume(cluster.id)
        assert (await world.until(cluster, Phase.READY)).fault is None
