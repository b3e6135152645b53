"""A cluster as all layers above the database see it: the record, its steps, events and endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.spec import ClusterSpec, VmsUnderHold


@dataclass(frozen=True)
class Hold:
    """Keeps a cluster that failed or expired for somebody to look at: until when, why, and with its VMs how."""

    until: datetime
    reason: str
    vms: VmsUnderHold = "running"


class Purpose(StrEnum):
    """What a cluster is for."""

    CLUSTER = "cluster"
    """A caller's."""
    TEMPLATE = "template"
    """To be saved as a template, then removed."""
    TRIAL = "trial"
    """The first fork of a template, which verifies it, then is removed."""
    MEMBER = "member"
    """Of a pool: waits, paused, for a caller."""


@dataclass(frozen=True)
class Endpoint:
    """Where something inside a cluster is reached from outside: a host's address and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class MachineMemory:
    """What a VM's process has of the host's memory, in bytes, by the kernel's own accounting.

    Shared with other processes, private, and proportional: private, and of the shared its part (PSS).
    """

    shared_bytes: int
    private_bytes: int
    proportional_bytes: int


@dataclass(frozen=True)
class Fault:
    """Why a cluster failed, or what its last attempt met. `evidence` maps a short name to text."""

    code: str
    message: str
    step: str | None = None
    node: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """One cluster. Times are aware and in UTC.

    `endpoints` maps a port of the namespace's outer address to where it is published.
    `admitted_at`: when it was given its share of the host; `reserved`: it has that share still, which is so until
    the engine holds nothing of it any more. `ready_at`: when it was ready first.
    `expires_at` is the earliest of all its ends: time to live, missing heartbeat (domain/cluster/expiry.py).
    `restarts`: how often in a row machines of it were started again, the last time at `restarted_at`.

    `template_id`: what it is a fork of, or (purpose `template`) what it is to become. `origin`: where its machines come
    from while it is `provisioning` (domain/cluster/boot_source.py); None: from where they are, their own disks.
    `reset_to`: the wish of a caller, until it is fulfilled. `paused`: its machines stand still, as those of a pool's
    member do, or go on with a clock that is to be set yet. `generation` counts its resets: containers of an earlier one
    are cleared away. `fence` counts its claims (domain/cluster/fencing.py).
    """

    id: str
    name: str
    spec: ClusterSpec
    desired: Desired
    phase: Phase
    created_at: datetime
    updated_at: datetime
    ready_at: datetime | None = None
    deleted_at: datetime | None = None
    expires_at: datetime | None = None
    endpoints: Mapping[int, Endpoint] = field(default_factory=dict)
    fault: Fault | None = None
    generation: int = 1
    owner: str = "default"
    admitted_at: datetime | None = None
    reserved: bool = False
    failed_at: datetime | None = None
    heartbeat_at: datetime | None = None
    hold: Hold | None = None
    warned_at: datetime | None = None
    restarts: int = 0
    restarted_at: datetime | None = None
    purpose: Purpose = Purpose.CLUSTER
    template_id: str | None = None
    pool_id: str | None = None
    origin: BootSource | None = None
    reset_to: BootSource | None = None
    paused: bool = False
    fence: int = 0
    traffic: int = 0
    """Packets from outside, as counted when somebody last looked; `active_at`: when they last had become more."""
    active_at: datetime | None = None

    @property
    def keeps_disks(self) -> bool:
        """Whether its machines' disks are the caller's by now: then machines are started again, never made anew."""
        return self.ready_at is not None and (self.origin is None or self.origin.keeps_disks)

    def held(self, now: datetime) -> bool:
        """Whether a hold keeps it at `now`."""
        return self.hold is not None and self.hold.until > now


class StepState(StrEnum):
    """How a step stands, as reported; what is true is decided by looking at the world."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class StepReport:
    """One step of one cluster (of one node, where `node` is set). `attempt` counts from 1."""

    name: str
    node: str | None
    state: StepState
    attempt: int
    started_at: datetime
    finished_at: datetime | None = None
    detail: str = ""
    error_code: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a cluster. `seconds` is how long it took, where it took time; `id` grows."""

    id: int
    at: datetime
    type: str
    message: str
    step: str | None = None
    node: str | None = None
    seconds: float | None = None
    code: str | None = None


@dataclass(frozen=True)
class NewEvent:
    """An event not yet stored: the store gives it its id and its time.

    Types: `phase`; `step.started`, `.progress`, `.waiting`, `.retry`, `.done`, `.failed`; `cluster.admitted`,
    `.recovering`, `.recovered`, `.expiring`, `.expired`, `.held`, `.changed`, `.forked`, `.fallback`, `.reset`,
    `.checkpoint`, `.hibernated`, `.resumed`, `.claimed`, `.idle`.
    """

    type: str
    message: str
    step: str | None = None
    node: str | None = None
    seconds: float | None = None
    code: str | None = None
