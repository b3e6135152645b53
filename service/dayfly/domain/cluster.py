"""A cluster as everybody but the database sees it: the record, its steps, its events, its endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dayfly.domain.lifecycle import Desired, Phase
from dayfly.domain.spec import ClusterSpec


@dataclass(frozen=True)
class Endpoint:
    """Where something inside a cluster is reached from outside: a host's address and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


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

    Types: `phase`, `step.started`, `step.progress`, `step.done`, `step.retry`, `step.failed`, `cluster.failed`.
    """

    type: str
    message: str
    step: str | None = None
    node: str | None = None
    seconds: float | None = None
    code: str | None = None
