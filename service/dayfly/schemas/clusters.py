"""Clusters over HTTP: responses. Requests are in cluster_requests.py."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final, Literal, Protocol

from pydantic import Field

from dayfly.addresses import host_and_port
from dayfly.schemas.addons import ClusterAddon
from dayfly.schemas.base import Code, Id, Open, ResponseModel
from dayfly.vocabulary import (
    ClusterReadiness,
    Desired,
    ExpiryReason,
    Isolation,
    Phase,
    Purpose,
    Readiness,
    Restart,
    StepState,
    VmsUnderHold,
    WaitFor,
)

_PURPOSES: Final = """\
`cluster`: it belongs to a caller. `template`: it builds a template. `verification`: a template's first fork, which \
verifies it. `pool_member`: it waits in a pool for a caller."""
_PHASES: Final = """\
`pending`: waits in the queue until the host has room. `provisioning`: being made, reset, resumed, or made whole again \
after the engine, the host or a machine of it went down. `ready`: all that was asked for holds. `hibernated`: its \
machines' memory lies on the disk, and nothing of it runs, until it is resumed. `failed`: given up, with an \
`error`; its evidence is kept, its machines only under a hold. `deleting`: being removed, the name is still taken. \
`deleted`: nothing is left but its record."""


class ToCheckpoint(ResponseModel):
    """Back to a checkpoint of the cluster's own, by its name."""

    checkpoint: Id


HOST: Final = r"^[A-Za-z0-9:\[][A-Za-z0-9.:%_\[\]-]{0,254}$"
"""A host name or an address: nothing that a program could take for an option."""


class Endpoint(ResponseModel):
    """Where something inside a cluster is reached from outside."""

    host: str = Field(pattern=HOST)
    port: int = Field(ge=1, le=65535)

    def __str__(self) -> str:
        return host_and_port(self.host, self.port)


class NodeSize(ResponseModel):
    """The size of one node. vCPUs, MiB of memory, GiB of disk (the guest's file system can grow to it)."""

    vcpus: int
    memory_mib: int
    disk_gib: int


class Workers(NodeSize):
    """The workers: how many, and the size of each."""

    count: int


class PublishedPort(ResponseModel):
    """A TCP port of a node or of a Service that is published on the host, at the endpoint `ports/NAME`."""

    name: str
    node: str | None = Field(description="null: the port is that of an address.")
    address: str | None = Field(description="A Service's address. null: the port is a node's.")
    port: int


class Spec(ResponseModel):
    """A specification with every default filled in."""

    absent_means: ClassVar = {"isolation": "shared", "ports": (), "conformance": (), "image_digest": ""}

    image: str = Field(description="The full reference.")
    image_id: str = Field(description="The engine's content id: what the nodes are made of, wherever the tag moves.")
    image_digest: str = Field(
        description="The hash of all inputs of the image's bake, equal wherever an image is baked of the same inputs. "
        "Empty: the image's manifest has none."
    )
    kubernetes_version: str | None = Field(description="null: an image of plain machines, without Kubernetes.")
    control_plane: NodeSize
    workers: Workers
    readiness: Open[ClusterReadiness]
    labels: dict[str, str]
    ttl_seconds: int | None = Field(description="Counts from when the cluster was first ready, or failed. null: none.")
    heartbeat_interval_seconds: int | None = Field(description="null: no heartbeat is expected.")
    restart: Open[Restart] = Field(
        description="After the engine, the host or a machine went down: it is brought back (`always`), or fails."
    )
    isolation: Open[Isolation] = Field(description="`strict`: never a fork, so that its cluster CA is its own.")
    idle_seconds: int | None = Field(
        description="Hibernated by itself after so long without traffic through its published ports. null: never."
    )
    ports: tuple[PublishedPort, ...] = Field(description="Published beside those that every cluster publishes.")
    conformance: tuple[str, ...] = Field(
        description="The names or patterns of the conformance specs that pass before `ready`; empty with any readiness "
        "but `conformance`."
    )


class Hold(ResponseModel):
    """Keeps a cluster that failed or expired until then, with its machines running, stopped or hibernated."""

    until: datetime
    reason: str
    vms: Open[VmsUnderHold]


class ErrorReport(ResponseModel):
    """Why a cluster failed, or what its last attempt met."""

    code: Code
    message: str
    step: Id | None
    node: Id | None
    evidence: tuple[str, ...] = Field(
        description="Names only: each text is at /v1/clusters/{cluster}/evidence/{name}. Empty in lists of clusters."
    )


class Step(ResponseModel):
    """State of one provisioning step. `seconds` is the step's duration so far, or in all."""

    name: Id
    node: Id | None
    state: Open[StepState]
    attempt: int
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    detail: str
    error_code: Code | None


class ClusterSummary(Spec):
    """A cluster."""

    absent_means: ClassVar = {**Spec.absent_means, "purpose": "cluster", "generation": 1, "paused": False, "addons": ()}

    id: Id
    name: Id
    owner: str = Field(description="Whose it is, for fairness in the queue.")
    phase: Open[Phase] = Field(description=_PHASES)
    desired: Open[Desired] = Field(
        description="What was asked for last: present, hibernated, or absent after a DELETE."
    )
    purpose: Open[Purpose] = Field(description=_PURPOSES)
    template: Id | None = Field(description="The id of the template that it is a fork of, or is to become.")
    not_forked_because: str | None = Field(
        description="Why it was made from its image and not from a template; of a fork, why its last reset was. null: "
        "it was made from its template or a fork's checkpoint, or has not begun, or a release before this wrote it.",
    )
    pool: Id | None = Field(description="The id of the pool that it waits in, as a member.")
    generation: int = Field(description="Counts from 1 how often it was made: a reset that was asked for is counted.")
    reset_to: Open[Literal["pristine"]] | ToCheckpoint | None = Field(
        description="The reset that was asked for and has not begun. `ready` is for the time before it, until then."
    )
    paused: bool = Field(
        description="Its machines are paused: while a checkpoint is saved, or as a member of a pool. Until they go on, "
        "a cluster is not usable even if it is `ready`; `wait=ready` waits for that, too."
    )
    origin: str | None = Field(
        description="While it is `provisioning`, what its machines come from: `image` (they boot), `template` (it is a "
        "fork), `checkpoint:NAME`, `hibernation`; null: their own disks.",
        examples=["template"],
    )
    created_at: datetime
    updated_at: datetime
    admitted_at: datetime | None = Field(description="When the host had room for it.")
    ready_at: datetime | None = Field(description="When it was ready first.")
    failed_at: datetime | None
    deleted_at: datetime | None
    expires_at: datetime | None = Field(
        description="When it will be deleted by itself, unless a hold keeps it then. null: not, or not known before it "
        "is ready."
    )
    expires_because: Open[ExpiryReason] | None = Field(
        description="What ends then: its time to live, or the time in which a heartbeat must come."
    )
    heartbeat_at: datetime | None = Field(description="The last one; its creation, before the first.")
    active_at: datetime | None = Field(
        description="When traffic through its published ports was last seen, where it has `idle_seconds`; or when "
        "these were last changed."
    )
    hold: Hold | None
    restarts: int = Field(description="How often in a row machines of it were started again.")
    queue_position: int | None = Field(
        description="From 1, while it waits for room on the host; else null. Of a long queue it is told as of up to "
        "two seconds ago, and null where the cluster is newer than that."
    )
    estimated_start_at: datetime | None = Field(
        description="When it will leave the queue, if others end as they did in the past. null: there is no telling."
    )
    estimated_ready_at: datetime | None = Field(description="The same for when it will be ready.")
    endpoints: dict[str, Endpoint] = Field(
        description="What is published, and where: `api`, `registry`, `ssh/node01`, `ports/NAME`, …",
        examples=[{"api": {"host": "127.0.0.1", "port": 40123}}],
    )
    addons: tuple[ClusterAddon, ...] = Field(description="Its add-ons, each after those that it needs.")
    error: ErrorReport | None


class Cluster(ClusterSummary):
    """A cluster, with the steps of making it."""

    steps: tuple[Step, ...]


class Heartbeat(ResponseModel):
    """A heartbeat that counted: the next one is due within `heartbeat_interval_seconds`."""

    expires_at: datetime | None = Field(description="When the cluster expires now, by its time to live or by silence.")
    heartbeat_interval_seconds: int


class ClusterList(ResponseModel):
    """A page of clusters, newest first."""

    clusters: tuple[ClusterSummary, ...]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


class DryRun(Spec):
    """The cluster that a request would create."""

    absent_means: ClassVar = {**Spec.absent_means, "addons": ()}

    name: str | None
    owner: str
    addons: tuple[Id, ...] = Field(description="Those of the request, and those that they need.")
    hold: Hold | None


class Registry(ResponseModel):
    """The cluster's own image registry. What is pushed to `push` is pulled in the cluster from `pull`."""

    push: str = Field(examples=["127.0.0.1:40123"])
    pull: str = Field(examples=["registry:5000"])


class Port(ResponseModel):
    """A published port. `port` is the cluster's side; `endpoint` the host's, null until the cluster's network is up."""

    port: int
    leads_to: str = Field(examples=["api", "registry", "ssh/node01", "ports/web"])
    endpoint: Endpoint | None


class PortList(ResponseModel):
    ports: tuple[Port, ...]


class Event(ResponseModel):
    """Something that happened to a cluster. `seconds` is how long it took, where it took time."""

    id: int
    at: datetime
    type: str
    message: str
    step: Id | None
    node: Id | None
    seconds: float | None
    code: Code | None


class ClusterEvent(Event):
    """An event, with the cluster that it is about."""

    cluster: Id = Field(description="The cluster's id.")
    cluster_name: Id
    owner: str


class ClusterEventList(ResponseModel):
    """Events of several clusters, oldest first."""

    events: tuple[ClusterEvent, ...]
    next_after: int = Field(description="Give it as `after` to go on. Filtered events are passed over.")


class EventList(ResponseModel):
    """Events, oldest first."""

    events: tuple[Event, ...]
    next_after: int = Field(description="Give it as `after` to go on.")
    phase: Open[Phase] = Field(description="The cluster's phase, so that a follower knows when nothing more will come.")


class Shape(ResponseModel):
    """What clusters must have in common to be forks of one template, or members of one pool."""

    absent_means: ClassVar = {"addons": ()}

    image: str = Field(description="The full reference.")
    image_id: str = Field(description="The engine's content id.")
    kubernetes_version: str | None
    control_plane: NodeSize
    workers: Workers
    readiness: Open[Readiness]
    addons: tuple[Id, ...]


class Awaited(Protocol):
    """The fields that decide whether a wait is over, of a response and of the domain's record."""

    @property
    def phase(self) -> str: ...
    @property
    def desired(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def reset_to(self) -> object: ...
    @property
    def paused(self) -> bool: ...


def is_paused(cluster: Awaited) -> bool:
    """Whether a caller's cluster cannot be used for the moment, in any phase. Pool members are paused by design."""
    return cluster.paused and cluster.purpose == "cluster"


def wait_is_over(cluster: Awaited, wanted: WaitFor) -> bool:
    """Whether the cluster has the awaited state or cannot reach it. Server and client use this function."""
    phase, desired = cluster.phase, cluster.desired
    if wanted == "deleted" or phase == "deleted":
        return phase == "deleted"
    if desired == "absent":
        return wanted != "settled"
    if phase == "failed":
        return True
    usable = phase == "ready" and cluster.reset_to is None and not is_paused(cluster)
    match wanted:
        case "ready":
            return usable or desired == "hibernated"
        case "hibernated":
            return phase == "hibernated" or desired == "present"
        case "settled":
            return usable if desired == "present" else phase == "hibernated"
