"""Waits until guests are idle: forks of a busy cluster's snapshot would be busy and slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dayfly.clock import Clock
from dayfly.concurrency import in_parallel
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.domain.cluster.topology import Topology
from dayfly.drivers.interfaces import Machines
from dayfly.errors import CommandFailed

_LOOK_SECONDS: Final = 15.0
_QUIET_PER_VCPU: Final = 0.75
_FALLING: Final = 0.85
"""The load is the kernel's one-minute average. An emulated control plane at rest keeps a load of 3 or more: it is idle
when a look finds more than this part of the load before."""


async def wait_idle(
    machines: Machines, topology: Topology, spec: ClusterSpec, clock: Clock, limits: TimeLimits
) -> str | None:
    """Wait until guests are idle or their load stops falling. None, or busy nodes after `limits.wait_idle`, as text.

    With Kubernetes, wait for at least `limits.wait_idle_least`. Raises as Machines.run, CommandFailed.
    """
    began = clock.monotonic()
    least = 0.0 if spec.manifest.kubernetes is None else limits.wait_idle_least
    before: Mapping[str, float] = {}
    while True:
        loads = await _loads(machines, topology, spec, limits.command)
        busy = [node for node in spec.nodes() if _is_busy(node, loads[node.name], before.get(node.name))]
        passed = clock.monotonic() - began
        if not busy and passed >= least:
            return None
        if passed >= limits.wait_idle:
            return ", ".join(f"{node.name} ({loads[node.name]:.1f})" for node in busy)
        before = loads
        await clock.sleep(_LOOK_SECONDS)


def _is_busy(node: Node, load: float, before: float | None) -> bool:
    if load <= _QUIET_PER_VCPU * node.size.vcpus:
        return False
    return before is None or load < _FALLING * before


async def _loads(machines: Machines, topology: Topology, spec: ClusterSpec, timeout: float) -> Mapping[str, float]:
    nodes = spec.nodes()
    loads = await in_parallel(_load(machines, topology.node(node.index).name, timeout) for node in nodes)
    return {node.name: load for node, load in zip(nodes, loads, strict=True)}


async def _load(machines: Machines, container: str, timeout: float) -> float:
    # By the agent: an SSH connection would be saved in the template's memory.
    said = await machines.read(container, "/proc/loadavg", timeout=timeout)
    try:
        return float(said.split()[0])
    except (IndexError, ValueError) as error:
        raise CommandFailed(f"the load of {container} cannot be read: {said[:100]!r}") from error
