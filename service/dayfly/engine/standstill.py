"""All machines of a cluster at the same moment: standing still, going on again, and the clocks that then are late.

Not here: what is saved of machines that stand still (saved.py), and why they do (reconcile/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dayfly.clock import Clock
from dayfly.concurrency import first_failure_only
from dayfly.domain.topology import Topology
from dayfly.drivers.protocols import Drivers, Machines
from dayfly.errors import ContainerExited, DayflyError, VmExited

RUNNING: Final = "running"
INCOMING: Final = "inmigrate"
"""As QEMU names them: the machine runs; it waits to be loaded."""
DOWN: Final = "down"
SILENT: Final = "silent"
"""No container of it runs; one does, but QEMU does not answer."""

_LATE_SECONDS: Final = 2.0


async def standings(drivers: Drivers, topology: Topology, cluster_id: str) -> Mapping[str, str]:
    """Container → what its machine does: DOWN, SILENT, or as QEMU names it. Raises DockerUnavailable."""
    seen = {status.name: status.state for status in await drivers.engine.observe(cluster_id)}

    async def look(name: str) -> str:
        if seen.get(name) != "running":
            return DOWN
        try:
            return await drivers.machines.status(name)
        except ContainerExited:
            return DOWN
        except VmExited:
            return SILENT

    async with first_failure_only(), asyncio.TaskGroup() as group:
        looks = {container.name: group.create_task(look(container.name)) for container in topology.nodes}
    return {name: task.result() for name, task in looks.items()}


async def stand_still(machines: Machines, topology: Topology) -> None:
    """Let all machines stand still. Raises as Machines.pause; others may stand still then."""
    async with first_failure_only(), asyncio.TaskGroup() as group:
        for container in topology.nodes:
            group.create_task(machines.pause(container.name))


async def go_on(machines: Machines, topology: Topology, clock: Clock, *, timeout: float) -> None:
    """Let all machines go on and mend their clocks, each of them even if another cannot: then its error is raised."""
    await _each(topology, machines.go_on)
    await set_clocks(machines, topology, clock, timeout=timeout)


async def set_clocks(machines: Machines, topology: Topology, clock: Clock, *, timeout: float) -> None:
    """Set all clocks; `timeout` is for each. Raises as Machines.set_clock."""
    await _each(topology, lambda name: machines.set_clock(name, clock, timeout=timeout))


async def on_time(machines: Machines, container: str, clock: Clock, *, timeout: float) -> bool:
    """Whether a guest that runs has the time of now; False where its agent does not answer."""
    before = clock.now().timestamp()
    try:
        said = await machines.run(container, ["/bin/date", "+%s"], timeout=timeout)
    except DayflyError:
        return False
    text = said.stdout.strip()
    return text.isdigit() and before - _LATE_SECONDS <= int(text) <= clock.now().timestamp() + _LATE_SECONDS


async def stop_those_that_stand(drivers: Drivers, topology: Topology, cluster_id: str) -> None:
    """Stop the containers of machines that do not run, so that they are booted from their disks."""
    for name, standing in (await standings(drivers, topology, cluster_id)).items():
        if standing not in {RUNNING, DOWN}:
            await drivers.engine.stop(name)


async def _each(topology: Topology, act: Callable[[str], Awaitable[None]]) -> None:
    ended = await asyncio.gather(*(act(container.name) for container in topology.nodes), return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error
