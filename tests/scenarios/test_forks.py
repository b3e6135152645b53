"""Forks of a template: shared state, own state, and failures."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.domain.cluster.boot_source import IMAGE, TEMPLATE_DIR
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.cluster.network import API_PORT, REGISTRY_PORT
from dayfly.domain.cluster.spec import PublishedPort
from dayfly.domain.cluster.topology import published_ports
from dayfly.errors import CommandFailed, EngineUnavailable, PortsExhausted, SshTimeout
from dayfly.store import Store
from dayfly.vocabulary import TemplatePhase
from tests.support.specs import make_spec
from tests.support.world import World

SPEC = make_spec(workers=1, kubernetes=True)


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


async def steps_of(world: World, cluster: Cluster) -> set[tuple[str, str | None]]:
    return {(step.name, step.node) for step in await world.store.clusters.steps(cluster.id)}


async def events_of(world: World, cluster: Cluster, type_: str) -> list[str | None]:
    """The codes of the cluster's events of that type."""
    return [event.code for event in await world.store.clusters.events(cluster.id) if event.type == type_]


async def test_a_template_is_made_tried_and_then_forked(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        await world.until_nothing_runs()
        fork = await world.until(await world.create(SPEC), Phase.READY)
    volume = world.engine.volumes[f"dayfly-template-{template.id}"]
    for node in ("node01", "node02"):
        container, saved = world.node(fork, node), volume.files[f"{TEMPLATE_DIR}/{node}"]
        assert (container.memory, container.vm_status) == (saved.memory, "running")  # type: ignore[attr-defined]
        assert container.disk == saved.disk  # type: ignore[attr-defined]
        assert (container.quiesced, saved.quiesced) == (False, True)  # type: ignore[attr-defined]
        assert (container.identity, container.clock) == (await world.host_key(fork), world.clock)
    assert (fork.template_id, fork.boot_source, fork.not_forked) == (template.id, None, None)
    # Its kubelets were stopped until their next report was due.
    assert 11.0 in world.clock.slept
    assert await steps_of(world, fork) == {
        *[
            ("sandbox", None),
            ("registry", None),
            ("restore", None),
            ("personalize", "node01"),
            ("personalize", "node02"),
            ("ready", None),
        ],
    }
    assert await events_of(world, fork, "cluster.forked") == [None]


@pytest.mark.parametrize("fault", ["silent", "frozen"])
async def test_a_template_whose_kubelets_do_not_come_back_is_never_used(world: World, fault: str) -> None:
    """Ready on record they are, as they were when it was saved."""
    gate = world.machines.block("load")
    async with world.working(), asyncio.TaskGroup() as group:
        building = group.create_task(world.template(SPEC, TemplatePhase.FAILED))
        async with asyncio.timeout(10):
            await gate.reached.wait()
        getattr(world.kube, fault)("node02")
        gate.open()
        failed = await building
    assert failed.fault is not None
    assert failed.fault.code == "node_not_ready"


async def test_a_fork_makes_no_secrets_that_it_does_not_use(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.working():
        await world.template(SPEC)

        def unused(*_: object) -> None:
            raise AssertionError("a certificate authority of its own")

        monkeypatch.setattr("dayfly.controllers.cluster.context.new_secrets", unused)
        fork = await world.until(await world.create(SPEC), Phase.READY, Phase.FAILED)
    assert fork.phase is Phase.READY


async def test_a_fork_shares_its_templates_ca_and_nothing_that_lets_anybody_in(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        forks = [await world.until(await world.create(SPEC), Phase.READY) for _ in range(2)]
    one, other = [await world.store.clusters.secrets(fork.id) for fork in forks]
    assert one is not None
    assert other is not None
    assert one.pki["pki/ca.crt"] == other.pki["pki/ca.crt"]
    assert one.bootstrap_token == other.bootstrap_token
    assert one.user_key != other.user_key
    assert one.host_key != other.host_key
    own = {path for path in one.pki if one.pki[path] != other.pki[path]}
    assert own == {f"clients/{name}.{part}" for name in ("caller", "dayfly") for part in ("crt", "key")}


async def test_who_wants_to_be_alone_is_made_from_nothing(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        alone = SPEC.model_copy(update={"isolation": "strict"})
        cluster = await world.until(await world.create(alone), Phase.READY)
        other_owner = await world.until(await world.create(SPEC, owner="another"), Phase.READY)
        other_shape = await world.until(await world.create(make_spec(kubernetes=True)), Phase.READY)
    made = (cluster, other_owner, other_shape)
    assert [one.template_id for one in made] == [None] * 3
    assert [one.not_forked for one in made] == [
        "its isolation is strict",
        f"owner another has no template of image {SPEC.image}",
        f"template {template.id} is of a control plane and 1 worker, not 0",
    ]
    for one in made:
        told = [event.message for event in await world.store.clusters.events(one.id) if "image" in event.message]
        assert told == [f"boots from its image: {one.not_forked}"]


@pytest.mark.parametrize("method", ["load", "resume", "run"])
async def test_a_fork_that_fails_is_made_from_nothing_and_says_so(world: World, method: str) -> None:
    async with world.working():
        template = await world.template(SPEC)
        world.machines.fail_next(method, CommandFailed(f"{method}: no"), times=1)
        cluster = await world.until(await world.create(SPEC), Phase.READY, Phase.FAILED)
        after = await world.store.templates.get(template.id)
    assert cluster.phase is Phase.READY
    assert cluster.template_id is None
    assert await events_of(world, cluster, "cluster.fallback") == ["command_failed"]
    assert cluster.not_forked == f"its fork failed: {method}: no"
    assert after.failures == 1
    assert ("boot", "node02") in await steps_of(world, cluster)
    assert {step.state for step in await world.store.clusters.steps(cluster.id)} == {"done"}, "of the way that led here"
    shared, own = await world.store.templates.secrets(template.id), await world.store.clusters.secrets(cluster.id)
    assert shared is not None
    assert own is not None
    assert own.pki["pki/ca.crt"] != shared.pki["pki/ca.crt"]
    assert len(world.engine.containers) == 4


async def test_what_has_nothing_to_do_with_templates_is_tried_again_and_counts_against_none(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        world.engine.fail_next("ensure", PortsExhausted("no port is free"))
        cluster = await world.until(await world.create(SPEC), Phase.READY, Phase.FAILED)
        after = await world.store.templates.get(template.id)
    assert (cluster.phase, cluster.template_id) == (Phase.READY, template.id)
    assert await events_of(world, cluster, "cluster.fallback") == []
    assert after.failures == 0


async def test_a_fork_that_works_clears_its_templates_record(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        world.machines.fail_next("load", CommandFailed("no"))
        await world.until(await world.create(SPEC), Phase.READY)
        await world.until(await world.create(SPEC), Phase.READY)
        assert (await world.store.templates.get(template.id)).failures == 0


async def test_a_fork_whose_machine_ends_while_it_is_loaded_is_made_from_nothing(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        gate = world.machines.block("load")
        cluster = await world.create(SPEC)
        async with asyncio.timeout(10):
            await gate.reached.wait()
        world.engine.exit(f"dayfly-{cluster.id}-node02", 1, "qemu: cannot map the template")
        gate.open()
        cluster = await world.until(cluster, Phase.READY, Phase.FAILED)
    assert cluster.phase is Phase.READY
    assert await events_of(world, cluster, "cluster.fallback") == ["vm_exited"]


async def test_a_template_that_is_retired_just_then_costs_nothing_but_time(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        await world.store.templates.retire(template.id)
        cluster = await world.until(await world.create(SPEC), Phase.READY)
    assert cluster.template_id is None


async def test_an_engine_that_goes_away_fails_no_fork(world: World) -> None:
    async with world.working():
        template = await world.template(SPEC)
        world.engine.fail_next("ensure", EngineUnavailable("nobody there"), times=2)
        cluster = await world.until(await world.create(SPEC), Phase.READY)
    assert cluster.template_id == template.id


async def test_a_builder_that_cannot_be_saved_makes_no_template(world: World) -> None:
    world.machines.fail_always(CommandFailed("no space", evidence={"why": "it is full"}), "save")
    async with world.working():
        template = await world.template(SPEC, TemplatePhase.FAILED)
        await world.until_nothing_runs()
    assert template.fault is not None
    assert (template.fault.code, template.fault.step) == ("command_failed", "snapshot")
    assert template.failed_cluster == template.builder
    assert set(await world.store.clusters.evidence(template.builder)) >= {"snapshot/why", "node01/console"}
    assert world.machines.calls["save"] == 2 * world.settings.step_attempts


async def test_a_builder_that_is_saved_at_the_second_attempt_is_a_template(world: World) -> None:
    world.machines.fail_next("save", CommandFailed("not now"))
    async with world.working():
        await world.template(SPEC)


async def test_a_trial_that_fails_makes_no_template(world: World) -> None:
    world.machines.fail_always(SshTimeout("no agent"), "load")
    async with world.working():
        template = await world.template(SPEC, TemplatePhase.FAILED)
        await world.until_nothing_runs()
    assert template.fault is not None
    assert template.fault.code == "ssh_timeout"
    assert template.failed_cluster not in {None, template.builder}, "its first fork"
    assert await world.store.clusters.evidence(template.failed_cluster or "")


async def test_a_template_is_not_saved_before_its_guests_are_quiet(world: World) -> None:
    world.machines.busy_for(4)
    async with world.working():
        await world.template(SPEC)
    assert world.clock.slept.count(15.0) == 2


async def test_the_fork_of_a_template_that_was_taken_from_under_it_comes_back_by_a_boot(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        fork = await world.until(await world.create(SPEC), Phase.READY)
        disk = world.node(fork, "node01").disk
        world.engine.restart_engine()
        await world.until_event(fork, lambda event: event.type == "cluster.recovered")
        await world.until(fork, Phase.READY)
    assert world.node(fork, "node01").disk == disk
    assert not world.node(fork, "node01").memory.endswith("saved")
    assert world.node(fork, "node01").files["/run/dayfly/seed.tar"], "it boots with keys of its own"


@pytest.mark.parametrize("kill_after", [1, 2, 3, 5, 8, 13, 21, 34])
async def test_a_worker_that_dies_anywhere_leaves_a_fork_to_the_next(store: Store, kill_after: int) -> None:
    """Cut off at every n-th call to the outside world: of the template's build, its verification, and a fork."""
    world = World(store)
    template, _ = await store.templates.create(SPEC, "default", world.key(SPEC))
    await world.work_in_pieces(kill_after, lambda: world.template_is(template.id, TemplatePhase.READY))
    cluster = await world.create(SPEC)
    await world.work_in_pieces(kill_after, lambda: world.is_in(cluster, Phase.READY))
    fork = await store.clusters.get(cluster.id)
    assert (fork.template_id, fork.purpose, fork.boot_source) == (template.id, Purpose.CLUSTER, None)
    for node in ("node01", "node02"):
        found = world.node(fork, node)
        assert (found.vm_status, found.identity, found.clock) == ("running", await world.host_key(fork), world.clock)


async def test_each_fork_publishes_ports_of_its_own(world: World) -> None:
    web = PublishedPort(name="web", node="node02", port=30080)
    wanted = SPEC.model_copy(update={"ports": (web,)})
    async with world.working():
        template = await world.template(wanted)
        assert template.spec.ports == ()
        fork = await world.until(await world.create(wanted), Phase.READY)
        plain = await world.until(await world.create(SPEC), Phase.READY)
        assert (fork.template_id, plain.template_id) == (template.id, template.id)
        before = await world.store.lifecycle.reset(fork.id, IMAGE)
        back = await world.until_so(
            fork, lambda now: now.phase is Phase.READY and now.generation > before.generation and not now.reset_to
        )
    (port,) = (port for port, name in published_ports(wanted).items() if name == "ports/web")
    assert set(fork.endpoints) - set(plain.endpoints) == {port}
    assert back.endpoints == fork.endpoints
    assert f"{port}=192.168.66.102:30080" in world.node(fork, "net").spec.environment["FORWARDS"].split()


async def test_each_fork_shows_its_own_registry_to_tools(world: World) -> None:
    async with world.working():
        await world.template(SPEC)
        forks = [await world.until(await world.create(SPEC), Phase.READY) for _ in range(2)]
    shown = {one.id: world.kube.config_maps[str(one.endpoints[API_PORT])] for one in forks}
    for fork in forks:
        text = shown[fork.id].data["localRegistryHosting.v1"]
        assert text.splitlines()[0] == f'host: "{fork.endpoints[REGISTRY_PORT]}"'
    # And the template's builder, which is neither of them, shows none; its first fork does.
    assert len(world.kube.config_maps) == len(forks) + len(("its first fork",))
