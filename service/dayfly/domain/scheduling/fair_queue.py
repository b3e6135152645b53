"""The fair queue: which waiting cluster is admitted next, and when each will probably begin. Pure.

The clusters that verify bakes have a line of their own.

The queue is fair between owners, and first come, first served within one owner: the owner with the smallest share of
the host, divided by the owner's weight, is next. No cluster overtakes the next one: a large request waits, but smaller
ones never starve it.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest

from dayfly.domain.scheduling.resources import Resources


@dataclass(frozen=True)
class Waiting:
    id: str
    owner: str
    needs: Resources
    background: bool = False
    """No caller waits for it: it builds a template, or is a pool's member."""
    bake: bool = False
    """It is the verification of a bake, and `id` is that bake's."""


@dataclass(frozen=True)
class Queue:
    """The input of admission. `waiting` is in the order of arrival; `held` maps an owner to its clusters' resources.

    `saved_gib`: the disk of templates and checkpoints, beside the clusters' own.
    """

    waiting: Sequence[Waiting]
    held: Mapping[str, Resources]
    saved_gib: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of owners; of others: `common_weight`. An owner of weight 2 gets twice the share of one of weight 1."""
    common_weight: float = 1.0

    def weight(self, owner: str) -> float:
        return self.weights.get(owner, self.common_weight)

    @property
    def in_use(self) -> Resources:
        return sum(self.held.values(), Resources(disk_gib=self.saved_gib))


def in_order(queue: Queue, offered: Resources) -> tuple[Waiting, ...]:
    """The queue in the order of admission: each next cluster is of the owner with the smallest weighted share then.

    The clusters that callers wait for precede all verifications of bakes, and these all background clusters.
    """
    held = defaultdict(Resources, queue.held)

    def part_of(owner: str) -> float:
        return held[owner].share_of(offered) / queue.weight(owner)

    order: tuple[Waiting, ...] = ()
    for line in (False, False), (True, False), (False, True):
        these = [waiting for waiting in queue.waiting if (waiting.bake, waiting.background) == line]
        order += _take_turns(these, held, part_of)
    return order


def admissible(queue: Queue, offered: Resources) -> tuple[Waiting, ...]:
    """The clusters to admit now: the head of the queue, as far as there is room."""
    room = offered - queue.in_use
    admitted = []
    for waiting in in_order(queue, offered):
        if not waiting.needs.fits(room):
            break
        room -= waiting.needs
        admitted.append(waiting)
    return tuple(admitted)


def _take_turns(
    line: Sequence[Waiting], held: dict[str, Resources], part_of: Callable[[str], float]
) -> tuple[Waiting, ...]:
    """`line` in the order of turns, the owner with the smallest part next. Adds the resources of `line` to `held`."""
    lines: defaultdict[str, deque[tuple[int, Waiting]]] = defaultdict(deque)
    for arrival, waiting in enumerate(line):
        lines[waiting.owner].append((arrival, waiting))
    turns = [(part_of(owner), line[0][0], owner) for owner, line in lines.items()]
    heapq.heapify(turns)
    order = []
    while turns:
        _, _, owner = heapq.heappop(turns)
        _, waiting = lines[owner].popleft()
        order.append(waiting)
        held[owner] += waiting.needs
        if lines[owner]:
            heapq.heappush(turns, (part_of(owner), lines[owner][0][0], owner))
    return tuple(order)


@dataclass(frozen=True)
class DurationStats:
    """Typical durations of past clusters, in seconds from admission: to ready, and to the end. None: no data yet."""

    provisioning_seconds: float | None = None
    life_seconds: float | None = None


@dataclass(frozen=True)
class Occupant:
    """An admitted cluster; `expires_at` is None where that is not known."""

    needs: Resources
    admitted_at: datetime
    expires_at: datetime | None


def outlook(
    queue: Queue, occupants: Sequence[Occupant], offered: Resources, past: DurationStats, now: datetime
) -> tuple[tuple[Waiting, datetime | None], ...]:
    """The queue in the order of admission, each cluster with the estimated time of its admission; None: unknown."""
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
            break  # no estimate for this cluster and all behind it
        starts.append(at)
        room -= waiting.needs
        if past.life_seconds is not None:
            heapq.heappush(ends, (at + timedelta(seconds=past.life_seconds), number, waiting.needs))
    return tuple(zip_longest(order, starts))


def _likely_end(occupant: Occupant, past: DurationStats, now: datetime) -> datetime | None:
    """The sooner of its expiry and the end of a typical life; None: unknown. A cluster that is older may end now."""
    ends = [end for end in (occupant.expires_at,) if end is not None]
    if past.life_seconds is not None:
        ends.append(max(now, occupant.admitted_at + timedelta(seconds=past.life_seconds)))
    return min(ends, default=None)
