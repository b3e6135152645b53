"""Damage of a cluster that should run, computed from its containers; and how often its machines are restarted. Pure.

Not here: looking at containers (drivers/), and repairing (controllers/).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from dayfly.domain.cluster.topology import Topology


class Seen(Protocol):
    """The properties of a container that this module reads (drivers/interfaces.ContainerStatus)."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def started_at(self) -> datetime | None: ...


@dataclass(frozen=True)
class Damage:
    """The damage of a cluster, with the names of containers; `kind` is the worst damage.

    `removed`: containers are missing. `restarted`: all are down, so the engine or its host restarted. `exited`: some
    ended by themselves. `stale`: containers run in a network namespace whose owner has ended or restarted.
    """

    kind: Literal["removed", "restarted", "exited", "stale"]
    names: tuple[str, ...]
    stale: tuple[str, ...] = ()


def damage(topology: Topology, seen: Collection[Seen]) -> Damage | None:
    """None when every container of `topology` runs in the right network namespace."""
    found: Mapping[str, Seen] = {status.name: status for status in seen}
    wanted = [topology.net.name, topology.registry.name, *(node.name for node in topology.nodes)]
    missing = tuple(name for name in wanted if name not in found)
    down = tuple(name for name in wanted if name in found and found[name].state != "running")
    stale = _stale(found, topology.net.name, wanted[1:])
    if missing:
        return Damage("removed", missing, stale)
    if len(down) == len(wanted):
        return Damage("restarted", down)
    if down:
        return Damage("exited", down, stale)
    return Damage("stale", stale, stale) if stale else None


def _stale(found: Mapping[str, Seen], owner: str, others: Collection[str]) -> tuple[str, ...]:
    """The containers that started before the namespace's owner, or that run while the owner does not."""
    running = [found[name] for name in others if name in found and found[name].state == "running"]
    if owner not in found or found[owner].state != "running":
        return tuple(status.name for status in running)
    began = found[owner].started_at
    if began is None:
        return ()
    return tuple(status.name for status in running if status.started_at is not None and status.started_at < began)


@dataclass(frozen=True)
class RestartRules:
    """The limit of restarts in a row, the first back-off, and the quiet time after which the count starts at 0."""

    limit: int
    backoff_seconds: float
    window_seconds: float

    def pause(self, restarts: int, last: datetime | None, now: datetime) -> float | None:
        """Seconds before the next restart, after `restarts` in a row; None: give up."""
        if self.peaceful(last, now):
            restarts = 0
        if restarts >= self.limit:
            return None
        return float(self.backoff_seconds * 2**restarts)

    def peaceful(self, last: datetime | None, now: datetime) -> bool:
        """Whether the last restart is too long ago to count."""
        return last is None or now - last > timedelta(seconds=self.window_seconds)
