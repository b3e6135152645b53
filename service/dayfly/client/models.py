"""The server's responses as typed values. Unknown fields are ignored, so that a newer server can send more.

Not here: nodes (node_models.py); checkpoints, templates and pools (their own modules).
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What all of them are."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SizeRequest(Answer):
    """The size of a node as asked for: vCPUs, MiB of memory, GiB of disk. None: what the image says."""

    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None


class HoldRequest(Answer):
    """A hold as asked for: until when, or for how many seconds from now; why; and what becomes of the machines.

    `vms` is `running`, `stopped` or `hibernated`; None: the server decides, which means running.
    """

    until: datetime | None = None
    seconds: int | None = None
    reason: str
    vms: str | None = None


class Hold(Answer):
    """Keeps a cluster that failed or expired `until` then, with its machines `running`, `stopped` or `hibernated`."""

    until: datetime
    reason: str
    vms: str


class NodeSize(Answer):
    """The size of a node: vCPUs, MiB of memory, GiB of disk."""

    vcpus: int
    memory_mib: int
    disk_gib: int


class Workers(NodeSize):
    """How many workers, and the size of each."""

    count: int


class Endpoint(Answer):
    """A host's address and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ErrorReport(Answer):
    """Why a cluster failed. `evidence` has names; `Client.evidence` fetches a text."""

    code: str
    message: str
    step: str | None = None
    node: str | None = None
    evidence: tuple[str, ...] = ()


class Step(Answer):
    """How one step stands (running, waiting, done, failed), and how long it took or has been running."""

    name: str
    node: str | None = None
    state: str
    attempt: int
    started_at: datetime
    finished_at: datetime | None = None
    seconds: float
    detail: str = ""
    error_code: str | None = None


class Spec(Answer):
    """A specification with every default filled in."""

    name: str | None = None
    image: str
    image_id: str
    kubernetes_version: str | None = None
    control_plane: NodeSize
    workers: Workers
    owner: str = "default"
    readiness: str
    labels: dict[str, str]
    ttl_seconds: int | None = None
    heartbeat_interval_seconds: int | None = None
    restart: str = "always"
    isolation: str = "shared"
    idle_seconds: int | None = None
    hold: Hold | None = None


class ToCheckpoint(Answer):
    """Back to a checkpoint, by its name."""

    checkpoint: str


class Cluster(Spec):
    """A cluster. `phase` is pending, provisioning, ready, hibernated, failed, deleting or deleted.

    Lists leave `steps` out.

    `expires_because` is `ttl` or `heartbeat`. The place in the queue, and when the cluster will likely begin and be
    ready, are None where it does not wait or there is no telling. `restarts`: how often in a row machines of it were
    started again.

    `purpose` is cluster, template, verification or pool_member. `template` and `pool` are ids. `generation` counts
    resets, from 1; `reset_to`, while a reset was requested and has not begun, is `pristine` or a checkpoint. `origin`:
    what the machines of a cluster that is provisioning come from.
    """

    id: str
    name: str
    phase: str
    desired: str
    purpose: str = "cluster"
    template: str | None = None
    pool: str | None = None
    generation: int = 1
    reset_to: str | ToCheckpoint | None = None
    origin: str | None = None
    created_at: datetime
    updated_at: datetime
    admitted_at: datetime | None = None
    ready_at: datetime | None = None
    failed_at: datetime | None = None
    deleted_at: datetime | None = None
    expires_at: datetime | None = None
    expires_because: str | None = None
    heartbeat_at: datetime | None = None
    active_at: datetime | None = None
    restarts: int = 0
    queue_position: int | None = None
    estimated_start_at: datetime | None = None
    estimated_ready_at: datetime | None = None
    endpoints: dict[str, Endpoint]
    error: ErrorReport | None = None
    steps: tuple[Step, ...] = ()


class Heartbeat(Answer):
    """A heartbeat that counted: when the cluster expires now, and within how many seconds the next one is due."""

    expires_at: datetime | None = None
    heartbeat_interval_seconds: int


class Page(Answer):
    """Some clusters, newest first; `next_cursor` leads to more."""

    clusters: tuple[Cluster, ...]
    next_cursor: str | None = None


class Registry(Answer):
    """The cluster's image registry: what is pushed to `push` is pulled inside from `pull`."""

    push: str
    pull: str


class Port(Answer):
    """A published port; `leads_to` is `api`, `registry`, `ssh/node01`, …"""

    port: int
    leads_to: str
    endpoint: Endpoint | None = None


class Event(Answer):
    """Something that happened to a cluster."""

    id: int
    at: datetime
    type: str
    message: str
    step: str | None = None
    node: str | None = None
    seconds: float | None = None
    code: str | None = None


class Events(Answer):
    """Some events; `next_after` goes on from there; `phase` is the cluster's."""

    events: tuple[Event, ...]
    next_after: int
    phase: str


class Orphan(Answer):
    """A container, network or volume that no living cluster or template owns, and how that is known.

    `cluster` or `template` is whose it was. `error`: why it could not be removed.
    """

    kind: str
    name: str
    cluster: str | None = None
    template: str | None = None
    why: str
    error: str | None = None


class OrphanList(Answer):
    orphans: tuple[Orphan, ...]


class Version(Answer):
    """The server's release and the API versions it speaks."""

    version: str
    api: tuple[str, ...]


class PortList(Answer):
    ports: tuple[Port, ...]
