"""Pauses and resumes all machines of a cluster at the same moment, and sets the clocks of resumed machines.

Not here: what is saved of paused machines (snapshot_files.py), and why they are paused (controllers/).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from dayfly.clock import Clock
from dayfly.concurrency import in_parallel
from dayfly.domain.cluster.topology import Topology
from dayfly.drivers.interfaces import Drivers, Machines
from dayfly.errors import ContainerExited, DayflyError, EngineUnavailable, VmExited

RUNNING: Final = "running"
INCOMING: Final = "inmigrate"
PAUSED: Final = "paused"
"""QEMU's names: the machine runs; it waits for its snapshot to be loaded; it is paused."""
DOWN: Final = "down"
SILENT: Final = "silent"
"""The container does not run; it runs, but QEMU does not answer."""

_LATE_SECONDS: Final = 2.0
_SECONDS: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class ResumeResult:
    """The result of resuming machines. `stuck`: why one does not run; `late`: why a running one's clock is not set."""

    stuck: DayflyError | None = None
    late: DayflyError | None = None


async def vm_states(drivers: Drivers, topology: Topology, cluster_id: str) -> Mapping[str, str]:
    """Container → state of its machine: DOWN, SILENT, or QEMU's name of it. Raises EngineUnavailable."""
    seen = {status.name: status.state for status in await drivers.engine.list_containers(cluster_id)}

    async def look(name: str) -> str:
        if seen.get(name) != "running":
            return DOWN
        try:
            return await drivers.machines.status(name)
        except ContainerExited:
            return DOWN
        except VmExited:
            return SILENT

    names = _names(topology)
    return dict(zip(names, await in_parallel(map(look, names)), strict=True))


async def pause_all(machines: Machines, topology: Topology) -> None:
    """Pause all machines. Raises as Machines.pause; then some may be paused."""
    await in_parallel(machines.pause(name) for name in _names(topology))


async def resume(machines: Machines, containers: Iterable[str]) -> None:
    """Resume each, also where another fails; then raise the first error. Sets no clock."""
    _raise_first(await _each(containers, machines.resume))


async def resume_all(machines: Machines, topology: Topology, clock: Clock, *, timeout: float) -> ResumeResult:
    """Resume all machines, and set the clocks of those that run; `timeout` is for each clock. May be repeated.

    Raises EngineUnavailable.
    """
    names = _names(topology)
    stuck = await _each(names, machines.resume)
    running = [name for name in names if name not in stuck]
    late = await _each(running, lambda name: machines.set_clock(name, clock, timeout=timeout))
    return ResumeResult(_first_of(stuck), _first_of(late))


async def set_clocks(machines: Machines, topology: Topology, clock: Clock, *, timeout: float) -> None:
    """Set all clocks; `timeout` is for each. Raises as Machines.set_clock."""
    _raise_first(await _each(_names(topology), lambda name: machines.set_clock(name, clock, timeout=timeout)))


async def on_time(machines: Machines, container: str, clock: Clock, *, timeout: float) -> bool:
    """Whether the clock of a running guest is right; False where its agent does not answer."""
    before = clock.now().timestamp()
    try:
        said = await machines.run(container, ["/bin/date", "+%s"], timeout=timeout)
    except DayflyError:
        return False
    text = said.stdout.strip()
    # Not str.isdigit(): int() takes neither "²" nor 5,000 digits.
    if _SECONDS.fullmatch(text) is None:
        return False
    return before - _LATE_SECONDS <= int(text) <= clock.now().timestamp() + _LATE_SECONDS


async def stop_paused(drivers: Drivers, topology: Topology, cluster_id: str) -> None:
    """Stop the containers of machines that are paused or silent, so that they boot from their disks."""
    for name, state in (await vm_states(drivers, topology, cluster_id)).items():
        if state not in {RUNNING, DOWN}:
            await drivers.engine.stop(name)


def _names(topology: Topology) -> list[str]:
    return [container.name for container in topology.nodes]


async def _each(names: Iterable[str], act: Callable[[str], Awaitable[None]]) -> Mapping[str, DayflyError]:
    """Name → error, of those that failed; each is tried even if another fails. Raises EngineUnavailable."""
    tried = list(names)
    ended = await asyncio.gather(*map(act, tried), return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException) and (
            isinstance(error, EngineUnavailable) or not isinstance(error, DayflyError)
        ):
            raise error
    return {name: error for name, error in zip(tried, ended, strict=True) if isinstance(error, DayflyError)}


def _first_of(failed: Mapping[str, DayflyError]) -> DayflyError | None:
    return next(iter(failed.values()), None)


def _raise_first(failed: Mapping[str, DayflyError]) -> None:
    if (error := _first_of(failed)) is not None:
        raise error
