"""The files of a cluster's snapshot: a folder for each machine, and one for the registry's content.

Machines are paused meanwhile. domain/cluster/boot_source.py has the folders' paths; a machine's folder has its node's
name.
Not here: when snapshots are taken, and what for (controllers/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from dayfly.concurrency import in_parallel, unwrap_exception_group
from dayfly.domain.cluster.boot_source import HIBERNATION, BootSource
from dayfly.domain.cluster.fencing import PASS, REFUSED
from dayfly.domain.cluster.topology import ContainerSpec, Topology
from dayfly.drivers.interfaces import ContainerEngine, Drivers, Machines, Ram
from dayfly.errors import CommandFailed, Failure, InfrastructureError, LeaseLost

REGISTRY: Final = "registry"
_REPORT_SECONDS: Final = 5.0
"""The pause between two reports of a growing snapshot's size."""
_CONTENT: Final = "/var/lib/registry"
# Copied before the fence, which makes other claims wait; the copy counts when it is renamed.
_SAVE_REGISTRY: Final = f"""
set -eu
draft=$4.new-$(cat /proc/sys/kernel/random/uuid)
trap 'rm -rf "$draft"' EXIT
mkdir -p "$draft"
cp -a "$3/." "$draft/"
sync -f "$draft"
{PASS}
rm -rf "$2"
mv "$draft" "$2"
"""
_EMPTY_REGISTRY: Final = f"""
{PASS}
find "$1" -mindepth 1 -delete
"""
_LOAD_REGISTRY: Final = """set -eu
find "$1" -mindepth 1 -delete
cp -a "$2/." "$1/"
"""


def folder_of(origin: BootSource, container: ContainerSpec) -> str:
    return f"{origin.folder}/{container.node}"


async def save(
    drivers: Drivers,
    topology: Topology,
    origin: BootSource,
    *,
    ram: Ram,
    disk: bool,
    fence: int,
    timeout: float,
    on_size: Callable[[int], Awaitable[None]] | None = None,
) -> int:
    """Save all machines as `origin`, in parallel; bytes on disk. They are paused afterwards. `fence`: of the claim.

    `on_size` is awaited with the bytes so far, now and then. Raises as Machines.save and, of what `on_size` raises,
    LeaseLost; then some may be saved, and any may be paused.
    """
    machines, around, over = drivers.machines, origin.fence(fence), asyncio.Event()
    async with unwrap_exception_group(), asyncio.TaskGroup() as group:
        if on_size is not None:
            group.create_task(_report_size(machines, topology, origin, on_size, over))
        sizes = await in_parallel(
            machines.save(node.name, folder_of(origin, node), ram=ram, disk=disk, fence=around, timeout=timeout)
            for node in topology.nodes
        )
        # The last report ends before the caller records the whole size.
        over.set()
    return sum(sizes)


async def _report_size(
    machines: Machines,
    topology: Topology,
    origin: BootSource,
    on_size: Callable[[int], Awaitable[None]],
    over: asyncio.Event,
) -> None:
    """Report the size of a growing snapshot until it is `over`. Raises LeaseLost."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPORT_SECONDS):
                await over.wait()
                return
        # A snapshot does not fail because its size is not known meanwhile.
        with suppress(Failure, InfrastructureError):
            sizes = (machines.size_so_far(node.name, folder_of(origin, node)) for node in topology.nodes)
            await on_size(sum(await in_parallel(sizes)))


async def discard(machines: Machines, topology: Topology, origin: BootSource, *, fence: int) -> None:
    """Remove the snapshot, by its first machine: all share the volume. Raises as Machines.discard."""
    await machines.discard(topology.nodes[0].name, origin.folder, fence=origin.fence(fence))


async def save_registry(
    engine: ContainerEngine, topology: Topology, origin: BootSource, *, fence: int, timeout: float
) -> None:
    """Save the registry's content, completely or not at all. Raises CommandFailed, ContainerExited, LeaseLost."""
    argv = [_SAVE_REGISTRY, "sh", *origin.fence(fence).arguments, _CONTENT, f"{origin.folder}/{REGISTRY}"]
    await _run(engine, topology.registry.name, argv, timeout)


async def load_registry(engine: ContainerEngine, topology: Topology, origin: BootSource, *, timeout: float) -> None:
    """Replace the registry's content by the saved one. Raises CommandFailed, ContainerExited."""
    argv = [_LOAD_REGISTRY, "sh", _CONTENT, f"{origin.folder}/{REGISTRY}"]
    await _run(engine, topology.registry.name, argv, timeout)


async def empty_registry(engine: ContainerEngine, topology: Topology, *, fence: int, timeout: float) -> None:
    """Delete the registry's content. Raises CommandFailed, ContainerExited, LeaseLost."""
    argv = [_EMPTY_REGISTRY, "sh", *HIBERNATION.fence(fence).arguments, _CONTENT]
    await _run(engine, topology.registry.name, argv, timeout)


async def _run(engine: ContainerEngine, name: str, script: Sequence[str], timeout: float) -> None:
    ended = await engine.exec(name, ["sh", "-c", *script], timeout=timeout)
    if ended.exit_code == REFUSED:
        raise LeaseLost(f"{name}: a later claim owns the snapshot")
    if ended.exit_code != 0:
        text = ended.stderr.decode(errors="replace")
        raise CommandFailed(f"{name}: the registry's content could not be changed", evidence={"stderr": text})
