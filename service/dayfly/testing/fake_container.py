"""What a FakeHost keeps: containers, volumes, networks and who follows its events, as plain objects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from dayfly.clock import Clock
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.drivers.interfaces import EngineEvent, ExecResult


@dataclass(slots=True)
class FakeContainer:
    """One container; tests may look and change what they like. `id` is never used again, `ports` stay its own."""

    spec: ContainerSpec
    id: str = ""
    state: Literal["created", "running", "paused", "exited"] = "created"
    exit_code: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)
    vm_status: str = "running"
    """What QMP's query-status says."""
    memory: str = ""
    """A mark of what its machine has in its memory: another one after each boot."""
    disk: str = ""
    """A mark of what its machine's disk holds: another one for each blank disk."""
    identity: str = ""
    quiesced: bool = False
    """Whether its Kubernetes stands still in its machine's memory (steps/guest/quiesce.py)."""
    """Whose keys its machine has in its memory, if not those that it was booted with: a cluster's id."""
    clock: Clock | None = None
    """What its guest's clock goes by; None: it is late."""
    moves: int = 0
    """How often its machine was booted or went on."""
    clock_set_at: datetime | None = None
    starts: int = 0
    started_at: datetime | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def alive(self) -> bool:
        return self.state in {"running", "paused"}


Command = Callable[[FakeContainer, Sequence[str], bytes], Awaitable[ExecResult] | ExecResult]


@dataclass(frozen=True)
class FakeObject:
    """A volume or a network. A volume's files: path → whatever fakes put there."""

    id: str
    name: str
    labels: Mapping[str, str]
    files: dict[str, object] = field(default_factory=dict, compare=False)


class Watcher:
    """Who follows events, of one cluster or of all. The host forgets it with the last who knows it."""

    def __init__(self, cluster_id: str | None) -> None:
        self.cluster_id = cluster_id
        self.inbox: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
