"""Waits until guests are idle: forks of a busy cluster's snapshot would be busy and slow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from dayfly.clock import Clock
from dayfly.concurrency import unwrap_exception_group
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.domain.cluster.topology import Topology
from dayfly.drivers.interfaces import Machines
from dayfly.errors import CommandFailed

_LOOK_SECONDS: Final = 15.0
_QUIET_PER_VCPU: Final = 0.75
_FALLING: Final = 0.85
"""Loads are the kernel's averages of a minute. An emulated control plane at rest has one of 3 and more for ever: it has
settled when that falls no more, which is less than to this part of itself from one look to the next."""


async def wait_idle(
    machines: Machines, topology: Topology, spec: ClusterSpec, clock: Clock, limits: TimeLimits
) -> str | None:
    """Until every guest is quiet, or as quiet as it gets; None, or who is not after `limits.settle`, for a person.

    With Kubernetes, not before `limits.settle_least` either. Raises as Machines.run, CommandFailed.
    """
    began = clock.monotonic()
    least = 0.0 if spec.manifest.kubernetes is None else limits.settle_least
    before: Mapping[str, float] = {}
    while True:
        loads = await _loads(machines, topology, spec, limits.command)
        busy = [node for node in spec.nodes() if _is_busy(node, loads[node.name], before.get(node.name))]
        passed = clock.monotonic() - began
        if not busy and passed >= least:
            return None
        if passed >= limits.settle:
            return ", ".join(f"{node.name} ({loads[node.name]:.1f})" for node in busy)
        before = loads
        await clock.sleep(_LOOK_SECONDS)


def _is_busy(node: Node, load: float, before: float | None) -> bool:
    if load <= _QUIET_PER_VCPU * node.size.vcpus:
        return False
    return before is None or load < _FALLING * before


async def _loads(machines: Machines, topology: Topology, spec: ClusterSpec, timeout: float) -> Mapping[str, float]:
    nodes = spec.nodes()
    async with unwrap_exception_group(), asyncio.TaskGroup() as group:
        found = {
            node.name: group.create_task(_load(machines, topology.node(node.index).name, timeout)) for node in nodes
        }
    return {name: task.result() for name, task in found.items()}


async def _load(machines: Machines, container: str, timeout: float) -> float:
    # By the agent: a connection of ours would be in the template's memory.
    said = await machines.read(container, "/proc/loadavg", timeout=timeout)
    try:
        return float(said.split()[0])
    except (IndexError, ValueError) as error:
        raise CommandFailed(f"{container} does not say its load: {said[:100]!r}") from error
