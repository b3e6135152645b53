"""Resources: what clusters need, what a host offers, and what is reserved. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dayfly.domain.cluster.spec import ClusterSpec

NODE_OVERHEAD_MIB: Final = 128
"""QEMU's own memory beside the guest's, for one node."""
CLUSTER_OVERHEAD_MIB: Final = 64
"""dnsmasq, the registry and the engine's helpers."""


@dataclass(frozen=True)
class Resources:
    """Virtual CPUs (of a host: its logical ones), MiB of memory, GiB of disk."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib, self.disk_gib + other.disk_gib)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(self.vcpus - other.vcpus, self.memory_mib - other.memory_mib, self.disk_gib - other.disk_gib)

    def fits(self, room: Resources) -> bool:
        """Whether `room` suffices. An over-committed dimension blocks only requests that need more of it."""
        return all(need <= max(0, left) for need, left in self._beside(room))

    def share_of(self, whole: Resources) -> float:
        """The largest of the shares of `whole` in vCPUs, memory and disk."""
        return max(part / total if total > 0 else float(part > 0) for part, total in self._beside(whole))

    def _beside(self, other: Resources) -> tuple[tuple[int, int], ...]:
        return (self.vcpus, other.vcpus), (self.memory_mib, other.memory_mib), (self.disk_gib, other.disk_gib)

    def __str__(self) -> str:
        return f"{self.vcpus} vCPUs, {self.memory_mib} MiB of memory and {self.disk_gib} GiB of disk"


@dataclass(frozen=True)
class CapacityRules:
    """The part of a host that clusters may use. Reserves are subtracted before the overcommit factors apply."""

    cpu_overcommit: float
    memory_overcommit: float
    disk_overcommit: float
    reserve_memory_mib: int
    reserve_disk_gib: int

    def offered(self, host: Resources) -> Resources:
        return Resources(
            vcpus=int(host.vcpus * self.cpu_overcommit),
            memory_mib=int(max(0, host.memory_mib - self.reserve_memory_mib) * self.memory_overcommit),
            disk_gib=int(max(0, host.disk_gib - self.reserve_disk_gib) * self.disk_overcommit),
        )


def demand(spec: ClusterSpec, *, memory_factor: float = 1.0) -> Resources:
    """The resources of a cluster of `spec`.

    Forks share unwritten pages: with `memory_factor` 2.0 a guest counts with half its memory.
    """
    sizes = [node.size for node in spec.nodes()]
    return Resources(
        vcpus=sum(size.vcpus for size in sizes),
        memory_mib=sum(math.ceil(size.memory_mib / memory_factor) + NODE_OVERHEAD_MIB for size in sizes)
        + CLUSTER_OVERHEAD_MIB,
        disk_gib=sum(size.disk_gib for size in sizes),
    )


def stopped_demand(spec: ClusterSpec) -> Resources:
    """The resources of a cluster of `spec` whose machines are stopped for good: its disks, network and registry."""
    return Resources(memory_mib=CLUSTER_OVERHEAD_MIB, disk_gib=demand(spec).disk_gib)


def hibernated_demand(spec: ClusterSpec) -> Resources:
    """The resources of a hibernated cluster of `spec`: its disks, and disk for all of its memory."""
    memory_mib = sum(node.size.memory_mib for node in spec.nodes())
    return Resources(disk_gib=demand(spec).disk_gib + math.ceil(memory_mib / 1024))
