"""Quiescing the guests of a template before the save, and guests that fail."""

from __future__ import annotations

import pytest

from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.drivers.interfaces import CommandResult
from dayfly.errors import CommandFailed
from dayfly.steps.guest.quiesce import quiesce
from dayfly.testing.fakes import FakeEngine, FakeMachines
from tests.support.specs import make_spec


@pytest.fixture
async def guests() -> tuple[FakeMachines, Topology]:
    engine = FakeEngine()
    spec = make_spec(workers=1, kubernetes=True)
    topology = compute_topology("c1", spec, instance="default", accelerator="tcg", publication=Publication())
    for container in (topology.net, *topology.nodes):
        await engine.ensure(container)
    return FakeMachines(engine), topology


async def test_every_guest_is_asked(guests: tuple[FakeMachines, Topology]) -> None:
    machines, topology = guests
    await quiesce(machines, topology, timeout=1)
    assert {container for container, _ in machines.ran} == {node.name for node in topology.nodes}


async def test_a_guest_that_cannot_says_why(guests: tuple[FakeMachines, Topology]) -> None:
    machines, topology = guests
    machines.on_run(lambda *_: CommandResult(2, "", "/proc: no such folder"))
    with pytest.raises(CommandFailed) as failed:
        await quiesce(machines, topology, timeout=1)
    assert failed.value.evidence == {"stderr": "/proc: no such folder"}
