"""What is saved of a cluster: a folder for each machine, and one for the registry's content. Machines stand still.

Folders are those of domain/origin.py; a machine's is below, by its node's name. Not here: when, and what for
(reconcile/).
"""

from __future__ import annotations

import asyncio
from typing import Final

from dayfly.concurrency import first_failure_only
from dayfly.domain.topology import ContainerSpec, Topology
from dayfly.drivers.protocols import ContainerEngine, Drivers, Machines, Ram
from dayfly.errors import CommandFailed

REGISTRY: Final = "registry"
_CONTENT: Final = "/var/lib/registry"
_SAVE_REGISTRY: Final = """set -eu
rm -rf "$2.new" "$2"
mkdir -p "$2.new"
cp -a "$1/." "$2.new/"
sync -f "$2.new"
mv "$2.new" "$2"
"""
_LOAD_REGISTRY: Final = """set -eu
find "$1" -mindepth 1 -delete
cp -a "$2/." "$1/"
"""


def folder_of(folder: str, container: ContainerSpec) -> str:
    """Where the machine of a node's container lies in `folder`."""
    return f"{folder}/{container.node}"


async def save(drivers: Drivers, topology: Topology, folder: str, *, ram: Ram, disk: bool, timeout: float) -> int:
    """Save all machines into `folder`, side by side; bytes on disk. They stand still afterwards.

    Raises as Machines.save; then some may be saved, and any may stand still.
    """
    async with first_failure_only(), asyncio.TaskGroup() as group:
        saving = [
            group.create_task(
                drivers.machines.save(container.name, folder_of(folder, container), ram=ram, disk=disk, timeout=timeout)
            )
            for container in topology.nodes
        ]
    return sum(task.result() for task in saving)


async def discard(machines: Machines, topology: Topology, folder: str) -> None:
    """Remove all that is in `folder`, which every node sees. Raises as Machines.discard."""
    await machines.discard(topology.nodes[0].name, folder)


async def save_registry(engine: ContainerEngine, topology: Topology, folder: str, *, timeout: float) -> None:
    """Keep the registry's content in `folder`, whole or not at all. Raises CommandFailed, ContainerExited."""
    await _run(engine, topology.registry.name, _SAVE_REGISTRY, folder, timeout)


async def load_registry(engine: ContainerEngine, topology: Topology, folder: str, *, timeout: float) -> None:
    """Give the registry the content that is in `folder`, and nothing else. Raises CommandFailed, ContainerExited."""
    await _run(engine, topology.registry.name, _LOAD_REGISTRY, folder, timeout)


async def _run(engine: ContainerEngine, name: str, script: str, folder: str, timeout: float) -> None:
    argv = ["sh", "-c", script, "sh", _CONTENT, f"{folder}/{REGISTRY}"]
    ended = await engine.exec(name, argv, timeout=timeout)
    if ended.exit_code != 0:
        text = ended.stderr.decode(errors="replace")
        raise CommandFailed(f"{name}: its content could not be copied", evidence={"stderr": text})
