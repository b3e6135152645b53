"""The steps `remove_stale` and `restore` on fakes, for machines in any state; the content of snapshots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.domain.cluster.timeouts import EMULATED
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.security.secrets import new_secrets
from dayfly.drivers.interfaces import CommandResult, Drivers, ExecResult
from dayfly.errors import CommandFailed, ContainerRemoved, DatabaseUnavailable, LeaseLost, SavedStateMissing, VmExited
from dayfly.steps.registry import Registry
from dayfly.steps.remove_stale import RemoveStale
from dayfly.steps.restore import Restore
from dayfly.steps.sandbox import Sandbox
from dayfly.steps.step import StepContext
from dayfly.steps.vm.pause_resume import on_time, pause_all, resume, vm_states
from dayfly.steps.vm.snapshot_files import discard, save, save_registry
from dayfly.testing.fakes import FakeContainer, FakeEngine, FakeKube, FakeMachines, FakeSsh
from tests.support.clock import FakeClock
from tests.support.specs import make_cluster, make_spec

SPEC = make_spec(workers=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHECKPOINT = BootSource("checkpoint", "before")


class Lab:
    """A cluster whose machines were booted, and saved in some way; `context` is for loading them."""

    def __init__(self, origin: BootSource) -> None:
        self.engine, self.ssh, self.clock = FakeEngine(), FakeSsh(), FakeClock()
        self.machines = FakeMachines(self.engine)
        made = make_cluster(SPEC)
        self.cluster = replace(
            made,
            boot_source=origin,
            ready_at=None if origin == TEMPLATE else NOW,
            generation=1,
            template_id="t1",
            fence=1,
        )
        topology = compute_topology(
            made.id, SPEC, instance="default", accelerator="tcg", publication=Publication(), template_id="t1",
            makes_template=True,
        )  # fmt: skip
        self.drivers = Drivers(self.engine, self.ssh, FakeKube(), self.machines)
        self.said: list[str] = []
        self.context = StepContext(
            cluster=self.cluster,
            secrets=new_secrets(SPEC, NOW),
            topology=topology,
            drivers=self.drivers,
            limits=EMULATED,
            accelerator="tcg",
            clock=self.clock,
            progress=self.said.append,
        )

    async def saved(self) -> Lab:
        """All are booted and saved; with disks of their own the containers go, else they stop."""
        origin, topology = self.context.boot_source, self.context.topology
        for step in (Sandbox(), Registry()):
            await step.apply(replace(self.context, cluster=make_cluster(SPEC)))
        for container in topology.nodes:
            await self.engine.ensure(container)
        await pause_all(self.machines, topology)
        ram = "shared" if origin == TEMPLATE else "whole"
        await save(self.drivers, topology, origin, ram=ram, disk=not origin.keeps_disks, fence=1, timeout=1)  # type: ignore[arg-type]
        self.was = [(node.memory, node.disk) for node in self.nodes]
        for node in list(self.nodes):
            if origin.keeps_disks:
                await self.engine.stop(node.spec.name)
            else:
                self.engine.remove_by_hand(node.spec.name)
        return self

    @property
    def nodes(self) -> list[FakeContainer]:
        return [self.engine.containers[container.name] for container in self.context.topology.nodes]

    @property
    def is_back(self) -> bool:
        marks = [(node.memory, node.disk) for node in self.nodes]
        # A fork's clock is set when it becomes itself.
        clock = None if self.context.boot_source == TEMPLATE else self.clock
        return marks == self.was and all((n.vm_status, n.clock) == ("running", clock) for n in self.nodes)


@pytest.fixture(params=[TEMPLATE, CHECKPOINT, HIBERNATION], ids=str)
async def lab(request: pytest.FixtureRequest) -> Lab:
    return await Lab(request.param).saved()


async def test_all_machines_go_on_where_they_were_saved_with_their_clocks_right(lab: Lab) -> None:
    assert not await Restore().check(lab.context)
    await Restore().apply(lab.context)
    assert lab.is_back
    assert await Restore().check(lab.context)


async def test_a_forks_first_start_takes_no_file(lab: Lab) -> None:
    await Restore().apply(lab.context)
    for container in lab.nodes:
        assert (qemu_cmdline.START_FILE not in container.files) == (lab.context.boot_source == TEMPLATE)
        assert (qemu_cmdline.START_VARIABLE in container.spec.environment) == (lab.context.boot_source == TEMPLATE)


@pytest.fixture(params=[CHECKPOINT, HIBERNATION], ids=str)
async def itself(request: pytest.FixtureRequest) -> Lab:
    """Machines of a cluster that is what it was when it was saved."""
    return await Lab(request.param).saved()


async def test_an_attempt_in_which_a_clock_could_not_be_set_is_cleared_away_and_the_next_succeeds(itself: Lab) -> None:
    await an_attempt_that_fails(itself, "set_clock")


async def test_machines_of_a_checkpoint_have_new_random_numbers_before_their_clocks_are_right() -> None:
    lab = await Lab(CHECKPOINT).saved()
    given: list[bytes] = []

    def guest(name: str, argv: Sequence[str], stdin: bytes) -> CommandResult:
        if argv[:2] == ["/usr/bin/perl", "-e"]:
            assert "RNDRESEEDCRNG" in argv[2]
            assert all(node.clock is None for node in lab.nodes), "a pass that dies here would believe the clocks"
            given.append(stdin)
        return CommandResult(0, f"{lab.clock.now().timestamp():.0f}\n", "")

    lab.machines.on_run(guest)
    await Restore().apply(lab.context)
    assert len(set(given)) == len(lab.nodes)
    assert all(len(entropy) >= 64 for entropy in given)


async def test_an_attempt_without_new_random_numbers_is_cleared_away_and_the_next_succeeds() -> None:
    await an_attempt_that_fails(await Lab(CHECKPOINT).saved(), "run")


@pytest.mark.parametrize("method", ["load", "resume"])
async def test_an_attempt_that_failed_is_cleared_away_and_the_next_succeeds(lab: Lab, method: str) -> None:
    await an_attempt_that_fails(lab, method)


async def an_attempt_that_fails(lab: Lab, method: str) -> None:
    lab.machines.fail_next(method, CommandFailed("no"))
    with pytest.raises(CommandFailed):
        await Restore().apply(lab.context)
    await Restore().undo(lab.context)
    await Restore().apply(lab.context)
    assert lab.is_back


async def test_machines_that_were_loaded_before_somebody_died_only_go_on(lab: Lab) -> None:
    gate = lab.machines.block("resume")
    gate.open()
    lab.machines.fail_next("resume", CommandFailed("cut off"), times=2)
    with pytest.raises(CommandFailed):
        await Restore().apply(lab.context)
    starts = [node.starts for node in lab.nodes]
    await Restore().apply(lab.context)
    assert lab.is_back
    assert [node.starts for node in lab.nodes] == starts


async def test_a_clock_that_is_late_is_noticed_and_mended(itself: Lab) -> None:
    await Restore().apply(itself.context)
    itself.nodes[1].clock = None
    assert not await Restore().check(itself.context)
    await Restore().apply(itself.context)
    assert await Restore().check(itself.context)


@pytest.mark.parametrize("origin", [TEMPLATE, CHECKPOINT], ids=str)
async def test_no_machine_begins_later_than_others_that_go_on_already(origin: BootSource) -> None:
    lab = await Lab(origin).saved()
    await Restore().apply(lab.context)
    lab.engine.exit(lab.nodes[1].spec.name)
    lab.nodes[0].memory = "has gone on"
    await Restore().apply(lab.context)
    assert lab.is_back


async def test_memory_of_machines_that_went_on_is_not_loaded_again() -> None:
    lab = await Lab(HIBERNATION).saved()
    await Restore().apply(lab.context)
    lab.engine.exit(lab.nodes[1].spec.name)
    with pytest.raises(SavedStateMissing):
        await Restore().apply(lab.context)
    await Restore().undo(lab.context)
    assert [node.state for node in lab.nodes] == ["running", "exited"]
    assert lab.nodes[0].vm_status == "running"


async def test_a_disk_that_is_kept_is_never_replaced() -> None:
    lab = await Lab(HIBERNATION).saved()
    lab.engine.remove_by_hand(lab.nodes[1].spec.name)
    with pytest.raises(ContainerRemoved):
        await Restore().apply(lab.context)


async def test_a_machine_that_says_nothing_is_started_anew() -> None:
    lab = await Lab(CHECKPOINT).saved()
    for container in lab.context.topology.nodes:
        await lab.engine.ensure(container)
    lab.machines.fail_next("status", VmExited("silent"), times=2)
    await Restore().apply(lab.context)
    assert lab.is_back


async def test_a_machine_that_ends_while_it_is_loaded_fails_by_name() -> None:
    lab = await Lab(CHECKPOINT).saved()
    lab.engine.exits_at_start("node02", 1, "qemu: load of migration failed")
    lab.machines.block("load")
    with pytest.raises(VmExited, match="load of migration failed"):
        await Restore().apply(lab.context)


async def test_a_registry_gets_back_what_it_had_and_keeps_nothing_else() -> None:
    lab = await Lab(CHECKPOINT).saved()
    asked: list[tuple[str, ...]] = []

    def note(container: FakeContainer, argv: Sequence[str], stdin: bytes) -> ExecResult:
        asked.append((container.spec.role, *argv))
        return ExecResult(0, b"", b"")

    lab.engine.on_exec(note)
    await Restore().apply(lab.context)
    (only,) = asked
    assert only[0] == "registry"
    assert "-delete" in only[3]
    assert only[-2:] == ("/var/lib/registry", "/saved/checkpoints/before/registry")


async def _grow(lab: Lab, on_size: Callable[[int], Awaitable[None]]) -> int:
    kinds = {"ram": "whole", "disk": True, "fence": 1, "timeout": 1}
    return await save(lab.drivers, lab.context.topology, BootSource("checkpoint", "later"), on_size=on_size, **kinds)  # type: ignore[arg-type]


async def _to_be_saved(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A cluster that runs. While it is saved, its size is reported all the time."""
    lab = await Lab(CHECKPOINT).saved()
    await Restore().apply(lab.context)
    monkeypatch.setattr("dayfly.steps.vm.snapshot_files._REPORT_SECONDS", 0)
    return lab


async def test_a_growing_snapshots_size_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = await _to_be_saved(monkeypatch)
    gate, sizes = lab.machines.block("save"), list[int]()
    lab.machines.fail_next("size_so_far", CommandFailed("du: no such file"))

    async def note(size: int) -> None:
        sizes.append(size)
        if len(sizes) == 1:
            raise DatabaseUnavailable("for a moment")
        gate.open()

    assert await _grow(lab, note) == 2 << 20
    assert sizes[:2] == [2 << 18] * 2
    assert lab.machines.calls["size_so_far"] >= 3


async def test_whoever_lost_the_lease_saves_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = await _to_be_saved(monkeypatch)
    lab.machines.block("save")

    async def lost(size: int) -> None:
        raise LeaseLost("another worker has it")

    with pytest.raises(LeaseLost):
        await _grow(lab, lost)


async def test_a_registry_that_cannot_be_copied_is_a_failure() -> None:
    lab = await Lab(CHECKPOINT).saved()
    lab.engine.on_exec(lambda container, argv, stdin: ExecResult(1, b"", b"cp: no space left"))
    with pytest.raises(CommandFailed) as caught:
        await save_registry(lab.engine, lab.context.topology, CHECKPOINT, fence=1, timeout=1)
    assert "no space left" in caught.value.evidence["stderr"]


async def test_all_go_on_that_can(lab: Lab) -> None:
    await Restore().apply(lab.context)
    await pause_all(lab.machines, lab.context.topology)
    lab.machines.fail_next("resume", CommandFailed("no"))
    with pytest.raises(CommandFailed):
        await resume(lab.machines, [container.name for container in lab.context.topology.nodes])
    assert sorted((await vm_states(lab.drivers, lab.context.topology, lab.cluster.id)).values()) == [
        "paused",
        "running",
    ]


async def test_a_guest_whose_agent_is_silent_is_not_on_time(itself: Lab) -> None:
    await Restore().apply(itself.context)
    name = itself.nodes[0].spec.name
    assert await on_time(itself.machines, name, itself.clock, timeout=1)
    itself.machines.agent_silent(name)
    assert not await on_time(itself.machines, name, itself.clock, timeout=1)


@pytest.mark.parametrize("printed", ["²", "9" * 5000, "-1", "", "1e9", "0x10", "1 2"], ids=lambda text: text[:9])
async def test_a_guest_that_prints_no_time_is_not_on_time(
    itself: Lab, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(*_: object, **__: object) -> CommandResult:
        return CommandResult(0, printed, "")

    monkeypatch.setattr(itself.machines, "run", run)
    assert not await on_time(itself.machines, itself.context.topology.nodes[0].name, itself.clock, timeout=1)


@pytest.mark.parametrize("origin", [CHECKPOINT, HIBERNATION], ids=str)
async def test_what_was_saved_can_be_discarded(origin: BootSource) -> None:
    lab = await Lab(origin).saved()
    await Restore().apply(lab.context)
    await discard(lab.machines, lab.context.topology, lab.context.boot_source, fence=1)
    for node in lab.nodes:
        assert not await lab.machines.saved(node.spec.name, f"{lab.context.boot_source.folder}/{node.spec.node}")


async def test_who_comes_late_leaves_the_memory_of_what_hibernates_alone() -> None:
    lab = await Lab(HIBERNATION).saved()
    late = replace(lab.context, cluster=replace(lab.cluster, fence=0))
    with pytest.raises(LeaseLost):
        await Restore().apply(late)
    assert {node.vm_status for node in lab.nodes} == {"paused"}, "without the memory's end none goes on"
    assert await lab.machines.saved(lab.nodes[0].spec.name, f"{HIBERNATION.folder}/node01")


async def test_clear_takes_what_is_of_an_earlier_generation_but_for_the_network() -> None:
    lab = await Lab(CHECKPOINT).saved()
    for container in lab.context.topology.nodes:
        await lab.engine.ensure(container)
    context = replace(lab.context, cluster=replace(lab.cluster, boot_source=IMAGE, generation=2))
    assert not await RemoveStale().check(context)
    await RemoveStale().apply(context)
    assert [container.spec.role for container in lab.engine.containers.values()] == ["net"]
    assert await RemoveStale().check(context)
    assert "dayfly-0123456789ab-saved" in lab.engine.volumes


async def test_clear_leaves_the_present_generation_alone() -> None:
    lab = await Lab(CHECKPOINT).saved()
    await lab.engine.ensure(lab.context.topology.nodes[0])
    assert await RemoveStale().check(lab.context)
