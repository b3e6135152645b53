"""The step `ready`: what it waits for, and that its last checks cover everything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest

from dayfly.domain.cluster.boot_source import HIBERNATION, IMAGE, TEMPLATE, BootSource
from dayfly.domain.cluster.model import Purpose
from dayfly.drivers.interfaces import ConfigMap, KubeNode
from dayfly.errors import NodeNotReady, NotUsable, SshTimeout
from dayfly.steps.ready import Ready
from dayfly.steps.step import StepContext
from tests.support.clock import FakeClock
from tests.support.kube_world import STARTED, World, context_of, said


@dataclass(frozen=True)
class SetClock:
    """A clock whose wall time was set by `jump`; its monotonic time was not."""

    of: FakeClock
    jump: timedelta

    def now(self) -> datetime:
        return self.of.now() + self.jump

    def monotonic(self) -> float:
        return self.of.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self.of.sleep(seconds)


@pytest.mark.parametrize(
    ("nodes", "account", "so"),
    [
        ((said("node01"), said("node02")), None, True),
        ((said("node01"), said("node02", ready=False)), None, False),
        ((said("node01"), said("node02", boot="an-earlier-boot")), None, False),
        ((said("node01"),), None, False),
        ((said("node01"), said("node02")), NotUsable("no token"), False),
        ((said("node01"), said("node02", renewed=STARTED)), None, False),
        ((said("node01"), said("node02", renewed=None)), None, False),
        ((said("node01"), said("node02", renewed=-60)), None, False),
        ((said("node01"), said("node02", steady=1)), None, False),
    ],
)
async def test_ready_means_every_node_and_a_service_account(
    nodes: tuple[KubeNode, ...], account: NotUsable | None, so: bool
) -> None:
    context, _ = context_of(World(nodes_now=nodes, unusable=account))
    assert await Ready().check(context) is so


async def test_nodes_that_stay_not_ready_leave_every_kubelets_words() -> None:
    context, _ = context_of(World(not_ready=NodeNotReady("node02: no CNI configuration")))
    assert not await Ready().check(context)
    with pytest.raises(NodeNotReady) as caught:
        await Ready().apply(context)
    assert {"kubelet/node01", "kubelet/node02"} <= caught.value.evidence.keys()


async def test_nodes_on_record_as_ready_whose_kubelets_are_silent_are_not_ready() -> None:
    context, _ = context_of(World(silent=True))
    assert not await Ready().check(context)
    with pytest.raises(NodeNotReady, match="do not answer") as caught:
        await Ready().apply(context)
    assert "kubelet/node02" in caught.value.evidence


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (said("node02", ready=False, renewed=52), "node02 is not Ready: NodeStatusUnknown; it last reported 52 s ago"),
        (said("node02", renewed=600), "node02 has not reported since its start 30 s ago; it last reported 600 s ago"),
        (said("node02", renewed=None), "node02 has not reported since its start 30 s ago; it has no lease"),
        (said("node02", steady=0.5), "node02 has been Ready for less than 2 s"),
        (said("node02", boot="before"), "node02 has not reported since its boot; it last reported 29 s ago"),
    ],
)
async def test_the_last_look_decides(first: KubeNode, words: str) -> None:
    world = World(looks=[(said("node01"), said("node02")), (said("node01"), first)])
    context, progress = context_of(world)
    await Ready().apply(context)
    assert progress.count(f"{words}: waiting again") == 1
    assert world.clock.slept == [2.0]

    world = World(nodes_now=(said("node01"), first))
    context, _ = context_of(world)
    with pytest.raises(NodeNotReady) as caught:
        await Ready().apply(context)
    assert caught.value.message == words
    assert {"kubelet/node01", "kubelet/node02"} <= caught.value.evidence.keys()
    assert not await Ready().check(context)


async def test_a_node_that_flaps_is_waited_for_until_it_stays() -> None:
    down, young = said("node02", ready=False), said("node02", steady=0)
    # Each pass looks twice.
    looks: list[tuple[KubeNode, ...]] = [
        (said("node01"), node) for node in (down, down, young, young, down, down, young, young)
    ]
    world = World(looks=looks)
    context, _ = context_of(world)
    await Ready().apply(context)
    assert len(world.clock.slept) == 4
    assert not world.looks


_SAVED = (said("node01"), said("node02", steady=600))
"""The machines started 30 s ago; the condition of node02 is restored memory, and its kubelet has reported since."""


@pytest.mark.parametrize("steady", [STARTED - 5, 600])
async def test_a_condition_that_may_be_older_than_the_start_counts_from_the_first_look(steady: float) -> None:
    """The clock of a node may be 5 s behind."""
    world = World(nodes_now=(said("node01"), said("node02", steady=steady)))
    context, progress = context_of(world)
    await Ready().apply(context)
    assert world.clock.slept == [2.0]
    assert not any("waiting again" in line for line in progress), "the other checks were made once"


@pytest.mark.parametrize(("second", "so"), [(_SAVED, True), ((said("node01"), said("node02", ready=False)), False)])
async def test_a_check_of_such_a_node_takes_two_looks(second: tuple[KubeNode, ...], so: bool) -> None:
    world = World(looks=[_SAVED], nodes_now=second)
    context, _ = context_of(world)
    assert await Ready().check(context) is so
    assert world.clock.slept == [2.0]


async def test_a_fork_whose_other_checks_take_the_moment_waits_no_longer() -> None:
    class Slow(World):
        async def wait_service_account(self, *_: object, **__: object) -> None:
            self.clock.advance(2.0)

    world = Slow(nodes_now=_SAVED)
    context, progress = context_of(world)
    await Ready().apply(context)
    assert world.clock.slept == []
    assert not any("waiting again" in line for line in progress)


@pytest.mark.parametrize("other", [said("node02", ready=False), said("node02", steady=600, renewed=600)])
async def test_the_moment_begins_again_after_a_look_at_which_the_node_was_not_ready(other: KubeNode) -> None:
    """Also where the API server's record of the condition is again the saved one."""
    world = World(nodes_now=_SAVED, looks=[_SAVED, (said("node01"), other)])
    context, progress = context_of(world)
    await Ready().apply(context)
    assert [line for line in progress if "waiting again" in line] != []
    # Until the second look, after its failure, and between the two looks that count.
    assert world.clock.slept == [2.0, 2.0, 2.0]


async def test_what_a_pool_member_reported_before_its_claim_does_not_count() -> None:
    """Its container started 30 s ago; it was paused until the claim, 20 s ago."""
    context, progress = context_of(World(nodes_now=(said("node01", renewed=25), said("node02", renewed=1))))
    assert await Ready().check(context)
    claimed = replace(context.cluster, created_at=context.clock.now() - timedelta(seconds=20))
    context = replace(context, cluster=claimed)
    assert not await Ready().check(context)
    await Ready().apply(context)
    assert "node01 has not reported since its start 22 s ago; it last reported 25 s ago: waiting again" in progress


async def test_what_was_reported_before_the_pass_does_not_count() -> None:
    """Its machines started 30 s ago, were paused, and resumed 20 s ago, at the start of the pass."""
    context, progress = context_of(World(nodes_now=(said("node01", renewed=25), said("node02", renewed=1))))
    context = replace(context, began=context.clock.monotonic() - 20)
    assert not await Ready().check(context)
    await Ready().apply(context)
    assert "node01 has not reported since its start 22 s ago; it last reported 25 s ago: waiting again" in progress


@pytest.mark.parametrize("jump_hours", [2, -2])
async def test_a_clock_that_is_set_makes_no_old_report_new_and_no_new_one_old(jump_hours: float) -> None:
    def jumped(world: World) -> StepContext:
        context, _ = context_of(world)
        clock = SetClock(world.clock, timedelta(hours=jump_hours))
        return replace(context, clock=clock, began=context.clock.monotonic() - STARTED)

    assert await Ready().check(jumped(World()))
    old = (said("node01", renewed=STARTED + 60), said("node02"))
    assert not await Ready().check(jumped(World(nodes_now=old)))


async def test_a_machine_that_was_never_started_is_not_ready() -> None:
    context, _ = context_of(World(never_started=True))
    assert not await Ready().check(context)
    with pytest.raises(NodeNotReady, match="the machine of node01 is not started"):
        await Ready().apply(context)


async def test_reports_count_since_the_machines_start() -> None:
    world = World()
    context, _ = context_of(world)
    await Ready().apply(context)
    assert world.started_for == {"node01": STARTED, "node02": STARTED}

    context, _ = context_of(World(not_renewed=NodeNotReady("node02 has not reported")))
    with pytest.raises(NodeNotReady, match="node02 has not reported") as caught:
        await Ready().apply(context)
    assert "kubelet/node02" in caught.value.evidence


@pytest.mark.parametrize("refused", ["a service account's token is refused", "a pod is refused"])
async def test_a_cluster_without_tokens_or_pods_is_not_ready(refused: str) -> None:
    context, _ = context_of(World(unusable=NotUsable(refused)))
    assert not await Ready().check(context)
    with pytest.raises(NotUsable, match=refused):
        await Ready().apply(context)


async def test_a_cluster_without_what_its_image_deploys_is_not_ready() -> None:
    context, _ = context_of(World(path_not_ready=NotUsable("/dns/ready not ready")))
    assert not await Ready().check(context)
    with pytest.raises(NotUsable, match="/dns/ready not ready") as caught:
        await Ready().apply(context)
    assert {"kubelet/node01", "kubelet/node02"} <= caught.value.evidence.keys()


async def test_ready_says_which_node_is() -> None:
    world = World()
    context, words = context_of(world)
    await Ready().apply(context)
    assert words[:2] == ["node01 is Ready", "node02 is Ready"]
    assert world.waited_for == {"node01": "boot-of-node01", "node02": "boot-of-node02"}


async def test_the_agents_of_a_fork_say_its_boots() -> None:
    world = World(ssh_error=SshTimeout("nobody logs in to it yet"))
    context, _ = context_of(world)
    forked = replace(context, cluster=replace(context.cluster, boot_source=TEMPLATE))
    await Ready().apply(forked)
    assert await Ready().check(forked)
    assert world.waited_for == {"node01": "boot-of-node01", "node02": "boot-of-node02"}
    assert world.ran == []


async def test_nodes_that_do_not_answer_are_not_called_ready() -> None:
    context, _ = context_of(World(ssh_error=SshTimeout("silence")))
    assert not await Ready().check(context)
    with pytest.raises(SshTimeout):
        await Ready().apply(context)


@pytest.mark.parametrize("origin", [IMAGE, TEMPLATE])
async def test_a_new_cluster_shows_its_registry_to_tools(origin: BootSource) -> None:
    world = World(config_map=ConfigMap("kube-public", "local-registry-hosting", {"of": "its template"}))
    context, _ = context_of(world)
    context = replace(context, cluster=replace(context.cluster, boot_source=origin), advertised="lab.example")
    assert not await Ready().check(context)
    await Ready().apply(context)
    assert await Ready().check(context)
    assert world.config_map == ConfigMap(
        "kube-public",
        "local-registry-hosting",
        {
            "localRegistryHosting.v1": 'host: "lab.example:45000"\n'
            'hostFromClusterNetwork: "registry:5000"\nhostFromContainerRuntime: "registry:5000"\n'
        },
    )

    context, _ = context_of(World(config_map_refused=NotUsable("quota")))
    with pytest.raises(NotUsable, match="quota"):
        await Ready().apply(replace(context, cluster=replace(context.cluster, boot_source=origin)))


@pytest.mark.parametrize("origin", [None, HIBERNATION, BootSource("checkpoint", "c")])
async def test_a_cluster_that_goes_on_keeps_what_it_shows(origin: BootSource | None) -> None:
    world = World()
    context, _ = context_of(world)
    context = replace(context, cluster=replace(context.cluster, boot_source=origin))
    assert await Ready().check(context)
    await Ready().apply(context)
    assert world.config_map is None


async def test_a_template_shows_no_registry_because_its_forks_have_other_ports() -> None:
    world = World()
    context, _ = context_of(world)
    cluster = replace(context.cluster, boot_source=IMAGE, purpose=Purpose.TEMPLATE)
    await Ready().apply(replace(context, cluster=cluster))
    assert world.config_map is None


async def test_what_is_late_is_told() -> None:
    context, progress = context_of(World(late="/dns/ready is not ready: no endpoints"))
    await Ready().apply(context)
    assert "/dns/ready is not ready: no endpoints" in progress
