"""A cluster: the record, its steps, events and endpoints, for all layers above the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dayfly.addresses import host_and_port
from dayfly.domain.addon import Addon, AddonStatus
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.spec import ClusterSpec, VmsUnderHold
from dayfly.vocabulary import AddonState, Purpose, StepState

__all__ = ["Cluster", "Endpoint", "Event", "Fault", "Hold", "NewEvent", "Purpose", "StepReport", "StepState"]


@dataclass(frozen=True)
class Hold:
    """Keeps a failed or expired cluster for inspection: until when, why, and with its VMs in which state."""

    until: datetime
    reason: str
    vms: VmsUnderHold = "running"


@dataclass(frozen=True)
class Endpoint:
    """The host's address and port that lead to a service inside a cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_and_port(self.host, self.port)


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
    """Why a cluster, or its last attempt, failed. `evidence` maps a short name to text."""

    code: str
    message: str
    step: str | None = None
    node: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cluster:
    """One cluster. Times are aware and in UTC.

    `endpoints` maps a port of the namespace's outer address to its published endpoint.
    `admitted_at`: when the cluster got its share of the host; `reserved`: it still has that share, until the engine
    holds none of its objects. `ready_at`: when the cluster was first ready.
    `expires_at` is the earliest of its ends: time to live, missing heartbeat (domain/cluster/expiry.py).
    `restarts`: how many restarts in a row its machines had, the last at `restarted_at`.

    `template_id`: the template of a fork, or (purpose `template`) the template that the cluster builds.
    `boot_source` while the cluster is `provisioning` (domain/cluster/boot_source.py); None: the machines' own disks.
    `reset_to`: the requested reset, until it is done. `paused`: the machines are paused, as those of a pool's member,
    or run with clocks that are not set yet. `generation` counts resets: containers of an earlier generation are
    removed. `fence` counts claims (domain/cluster/fencing.py).
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
    boot_source: BootSource | None = None
    reset_to: BootSource | None = None
    paused: bool = False
    fence: int = 0
    traffic: int = 0
    """Packets from outside at the last measurement; `active_at`: when the count last grew."""
    active_at: datetime | None = None
    not_forked: str | None = None
    """Why the machines booted from the image although they could have been forks of a template's: at creation, or at a
    fork's last reset."""
    addons: tuple[AddonStatus, ...] = ()
    """Those of the specification, then those that are being removed."""

    @property
    def expected_addons(self) -> tuple[Addon, ...]:
        """The add-ons that must work before the cluster is ready.

        Not those that failed after a request: only another request tries them again. Of machines with their own disks,
        those that worked before: the others are installed once the cluster is ready.
        """
        states = {one.name: one.state for one in self.addons}
        if self.boot_source is None or self.boot_source.keeps_disks:
            return tuple(one for one in self.spec.addons if states.get(one.name) is AddonState.READY)
        return tuple(one for one in self.spec.addons if states.get(one.name) is not AddonState.FAILED)

    @property
    def keeps_disks(self) -> bool:
        """Whether the disks hold a caller's data: then machines are restarted, never recreated."""
        return self.ready_at is not None and (self.boot_source is None or self.boot_source.keeps_disks)

    def held(self, now: datetime) -> bool:
        """Whether a hold keeps the cluster at `now`."""
        return self.hold is not None and self.hold.until > now


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
class NewEvent:
    """An event that is not stored yet: the store sets its id and its time. `seconds`: its duration, where it has one.

    Types: `phase`; `step.started`, `.progress`, `.waiting`, `.retry`, `.done`, `.failed`; `cluster.admitted`,
    `.recovering`, `.recovered`, `.expiring`, `.expired`, `.held`, `.changed`, `.forked`, `.fallback`, `.reset`,
    `.checkpoint`, `.hibernated`, `.resumed`, `.claimed`, `.idle`, `.addon`.
    """

    type: str
    message: str
    step: str | None = None
    node: str | None = None
    seconds: float | None = None
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event(NewEvent):
    """An event of a cluster. `id` grows."""

    id: int
    at: datetime
