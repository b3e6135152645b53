"""What clusters need and a host gives, and who is next where it is not enough for all. Pure: no look at the world.

The queue is fair between owners and first come, first served within one: whoever holds the smallest share of the host
goes next. Nobody overtakes who is next: a large request waits, but is never starved by small ones.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final

from dayfly.domain.spec import ClusterSpec

NODE_OVERHEAD_MIB: Final = 128
"""QEMU's own memory beside the guest's, for one node."""
CLUSTER_OVERHEAD_MIB: Final = 64
"""dnsmasq, the registry and the engine's helpers."""


@dataclass(frozen=True)
class Resources:
    """Virtual CPUs, MiB of memory, GiB of disk."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib, self.disk_gib + other.disk_gib)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(self.vcpus - other.vcpus, self.memory_mib - other.memory_mib, self.disk_gib - other.disk_gib)

    def fits(self, room: Resources) -> bool:
        """Whether there is so much room. Of what is overdrawn already there is room for nothing, but for that there is:
        who needs no more disk does not wait for any."""
        return (
            self.vcpus <= max(0, room.vcpus)
            and self.memory_mib <= max(0, room.memory_mib)
            and self.disk_gib <= max(0, room.disk_gib)
        )

    def share_of(self, whole: Resources) -> float:
        """The largest of the three shares of `whole`."""
        parts = (
            (self.vcpus, whole.vcpus),
            (self.memory_mib, whole.memory_mib),
            (self.disk_gib, whole.disk_gib),
        )
        return max(part / total if total > 0 else float(part > 0) for part, total in parts)

    def __str__(self) -> str:
        return f"{self.vcpus} vCPUs, {self.memory_mib} MiB of memory and {self.disk_gib} GiB of disk"


@dataclass(frozen=True)
class CapacityRules:
    """How much of a host is for clusters. Factors are virtual for each real one; reserves are taken off first."""

    cpu_overcommit: float
    memory_overcommit: float
    disk_overcommit: float
    reserve_memory_mib: int
    reserve_disk_gib: int

    def offered(self, host: Resources) -> Resources:
        """What clusters may have in all of a host with so many logical CPUs, so much memory and disk."""
        return Resources(
            vcpus=int(host.vcpus * self.cpu_overcommit),
            memory_mib=int(max(0, host.memory_mib - self.reserve_memory_mib) * self.memory_overcommit),
            disk_gib=int(max(0, host.disk_gib - self.reserve_disk_gib) * self.disk_overcommit),
        )


@dataclass(frozen=True)
class Waiting:
    """A cluster in the queue."""

    id: str
    owner: str
    needs: Resources
    background: bool = False
    """Nobody waits for it: it is to become a template, or a pool's member."""


@dataclass(frozen=True)
class Queue:
    """All that admission looks at. `waiting` in the order of arrival; `held` is what each owner's clusters have.

    `saved_gib`: the disk that templates and checkpoints take, beside the clusters' own.
    """

    waiting: Sequence[Waiting]
    held: Mapping[str, Resources]
    saved_gib: int = 0

    @property
    def in_use(self) -> Resources:
        return sum(self.held.values(), Resources(disk_gib=self.saved_gib))


def demand(spec: ClusterSpec, *, memory_factor: float = 1.0) -> Resources:
    """What a cluster of `spec` takes of its host.

    Forks share the pages that they have not written: with `memory_factor` 2.0 a guest counts with half its memory.
    """
    sizes = [node.size for node in spec.nodes()]
    return Resources(
        vcpus=sum(size.vcpus for size in sizes),
        memory_mib=sum(math.ceil(size.memory_mib / memory_factor) + NODE_OVERHEAD_MIB for size in sizes)
        + CLUSTER_OVERHEAD_MIB,
        disk_gib=sum(size.disk_gib for size in sizes),
    )


def hibernated_demand(spec: ClusterSpec) -> Resources:
    """What a hibernated cluster of `spec` takes: its disks, and disk for all the memory that may have been saved."""
    memory_mib = sum(node.size.memory_mib for node in spec.nodes())
    return Resources(disk_gib=demand(spec).disk_gib + math.ceil(memory_mib / 1024))


def in_order(queue: Queue, offered: Resources) -> tuple[Waiting, ...]:
    """The queue as it will be served: each time the next of the owner who then has the smallest share of `offered`.

    All that somebody waits for comes before all that is for later.
    """
    held = defaultdict(Resources, queue.held)
    front = _take_turns([waiting for waiting in queue.waiting if not waiting.background], held, offered)
    return front + _take_turns([waiting for waiting in queue.waiting if waiting.background], held, offered)


def admissible(queue: Queue, offered: Resources) -> tuple[Waiting, ...]:
    """Who may begin now: the head of the queue, as far as there is room."""
    room = offered - queue.in_use
    admitted = []
    for waiting in in_order(queue, offered):
        if not waiting.needs.fits(room):
            break
        room -= waiting.needs
        admitted.append(waiting)
    return tuple(admitted)


def _take_turns(line: Sequence[Waiting], held: dict[str, Resources], offered: Resources) -> tuple[Waiting, ...]:
    """`line` in the order of turns; `held` grows by it."""
    lines: defaultdict[str, deque[tuple[int, Waiting]]] = defaultdict(deque)
    for arrival, waiting in enumerate(line):
        lines[waiting.owner].append((arrival, waiting))
    turns = [(held[owner].share_of(offered), line[0][0], owner) for owner, line in lines.items()]
    heapq.heapify(turns)
    order = []
    while turns:
        _, _, owner = heapq.heappop(turns)
        _, waiting = lines[owner].popleft()
        order.append(waiting)
        held[owner] += waiting.needs
        if lines[owner]:
            heapq.heappush(turns, (held[owner].share_of(offered), lines[owner][0][0], owner))
    return tuple(order)


@dataclass(frozen=True)
class DurationStats:
    """Typical durations, in seconds, from what was: from admission to ready, and to the end. None: nothing was yet."""

    provisioning_seconds: float | None = None
    life_seconds: float | None = None


@dataclass(frozen=True)
class Occupant:
    """A cluster that has a share of the host: since when, and when it expires, if that is known."""

    needs: Resources
    admitted_at: datetime
    expires_at: datetime | None


def outlook(
    queue: Queue, occupants: Sequence[Occupant], offered: Resources, past: DurationStats, now: datetime
) -> tuple[tuple[Waiting, datetime | None], ...]:
    """The queue as it will be served, each with when it will be admitted if all goes as it did in the past."""
    ends: list[tuple[datetime, int, Resources]] = []
    for number, occupant in enumerate(occupants):
        end = _likely_end(occupant, past, now)
        if end is not None:
            heapq.heappush(ends, (end, number, occupant.needs))
    room, at = offered - queue.in_use, now
    starts: list[datetime] = []
    order = in_order(queue, offered)
    for number, waiting in enumerate(order, start=len(occupants)):
        while ends and not waiting.needs.fits(room):
            end, _, freed = heapq.heappop(ends)
            at, room = max(at, end), room + freed
        if not waiting.needs.fits(room):
            break  # there is no telling, for this one and all behind it
        starts.append(at)
        room -= waiting.needs
        if past.life_seconds is not None:
            heapq.heappush(ends, (at + timedelta(seconds=past.life_seconds), number, waiting.needs))
    return tuple(zip_longest(order, starts))


def _likely_end(occupant: Occupant, past: DurationStats, now: datetime) -> datetime | None:
    """The sooner of its expiry and the end of a typical life; one that has outlived that may end any moment."""
    ends = [end for end in (occupant.expires_at,) if end is not None]
    if past.life_seconds is not None:
        ends.append(max(now, occupant.admitted_at + timedelta(seconds=past.life_seconds)))
    return min(ends, default=None)
