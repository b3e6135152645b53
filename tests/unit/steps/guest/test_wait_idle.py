"""Waiting for idle guests, and the count of callers' packets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import EMULATED
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import CommandFailed
from dayfly.steps.guest.wait_idle import wait_idle
from dayfly.steps.observe.traffic import packets_from_outside
from dayfly.testing.fakes import FakeEngine, FakeMachines
from tests.support.clock import FakeClock
from tests.support.specs import make_spec

BARE, KUBERNETES = make_spec(), make_spec(kubernetes=True)


class Guests:
    """A guest that reports these loads in turn; the last load repeats."""

    def __init__(self, spec: ClusterSpec, *loads: float) -> None:
        self.spec, self.clock, self.engine = spec, FakeClock(), FakeEngine()
        self.machines = FakeMachines(self.engine)
        self._loads = list(loads)
        self.machines.on_read(lambda *_: f"{self._next()} 1.0 1.0 1/99 1\n")

    def _next(self) -> float:
        return self._loads.pop(0) if len(self._loads) > 1 else self._loads[0]

    @property
    def topology(self) -> Topology:
        return compute_topology("c1", self.spec, instance="default", accelerator="tcg", publication=Publication())

    async def settle(self) -> str | None:
        for container in (self.topology.net, *self.topology.nodes):
            await self.engine.ensure(container)
        return await wait_idle(self.machines, self.topology, self.spec, self.clock, EMULATED)


@pytest.mark.parametrize(
    ("spec", "loads", "seconds"),
    [
        (BARE, [0.4], 0),
        (BARE, [3.0, 2.0, 1.4], 30),
        (KUBERNETES, [0.4], 60),
        (KUBERNETES, [5.8, 4.3, 3.4, 2.7, 2.6, 2.5], 60),
        (KUBERNETES, [9.0, 7.0, 5.0, 4.0, 3.0, 2.9], 75),
    ],
)
async def test_guests_have_settled_when_they_are_quiet_or_as_quiet_as_they_get(
    spec: ClusterSpec, loads: Sequence[float], seconds: float
) -> None:
    guests = Guests(spec, *loads)
    assert await guests.settle() is None
    assert guests.clock.monotonic() == seconds


async def test_who_does_not_settle_in_time_is_named() -> None:
    guests = Guests(KUBERNETES, *(100 * 0.8**n for n in range(40)))
    told = await guests.settle()
    assert told is not None
    assert told.startswith("node01 (")
    assert guests.clock.monotonic() == EMULATED.wait_idle


async def test_a_guest_that_says_something_else_is_an_error() -> None:
    guests = Guests(BARE, 0)
    guests.machines.on_read(lambda *_: "no such file")
    with pytest.raises(CommandFailed):
        await guests.settle()


LISTED = b"""Chain PREROUTING (policy ACCEPT 0 packets, 0 bytes)
    pkts      bytes target     prot opt in     out     source               destination
     618      402            6    --  !br0   *       0.0.0.0/0            0.0.0.0/0            ctdir ORIGINAL
"""


@pytest.mark.parametrize(("listed", "packets"), [(LISTED, 618), (b"Chain PREROUTING\n", None), (b"", None)])
async def test_packets_are_those_that_the_rule_has_counted(listed: bytes, packets: int | None) -> None:
    guests = Guests(BARE, 0)
    await guests.engine.ensure(guests.topology.net)
    guests.engine.on_exec(lambda container, argv, stdin: ExecResult(0, listed, b""))
    assert await packets_from_outside(guests.engine, guests.topology) == packets


async def test_packets_that_cannot_be_counted_are_an_error() -> None:
    guests = Guests(BARE, 0)
    await guests.engine.ensure(guests.topology.net)
    guests.engine.on_exec(lambda container, argv, stdin: ExecResult(4, b"", b"iptables: Permission denied"))
    with pytest.raises(CommandFailed, match="Permission denied"):
        await packets_from_outside(guests.engine, guests.topology)


async def test_a_look_that_fails_leaves_no_other_behind() -> None:
    guests = Guests(make_spec(workers=1), 0.4)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def read(container: str, path: str, *, timeout: float) -> str:
        if container.endswith("node01"):
            await begun.wait()
            raise CommandFailed("it does not say")
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return path

    guests.machines.read = read  # type: ignore[method-assign]
    with pytest.raises(CommandFailed):
        await guests.settle()
    assert cancelled.is_set()
