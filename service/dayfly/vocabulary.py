"""The values that the domain, the API and the client share: phases, purposes, choices, and patterns of names.

Needs the standard library alone, so that the client needs nothing of the server. The domain's modules export those
that they have rules about. Not here: these rules (domain/).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Literal

CLUSTER_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
"""A DNS label of at most 40 characters that starts with a letter; so no name can be mistaken for an id."""
CHECKPOINT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Desired(StrEnum):
    """What the caller wants; only the API writes it."""

    PRESENT = "present"
    HIBERNATED = "hibernated"
    ABSENT = "absent"


class Phase(StrEnum):
    """Where a cluster is; only the reconciler writes it."""

    PENDING = "pending"
    """Accepted, or to be woken up; waits in the queue until the host has room for it."""
    PROVISIONING = "provisioning"
    """A worker is making it, resetting it, waking it up, or making it whole again after something of it went down."""
    READY = "ready"
    """All that the spec asked for holds."""
    HIBERNATED = "hibernated"
    """Its machines' memory lies on the disk and nothing of it runs; woken up, it goes on where it was."""
    FAILED = "failed"
    """Given up, with an error code. The evidence is kept; no container is, unless a hold keeps them."""
    DELETING = "deleting"
    """Being removed; the name is still taken."""
    DELETED = "deleted"
    """Nothing is left but the row; the name is free."""


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


class StepState(StrEnum):
    """How a step stands, as reported; what is true is decided by looking at the world."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class CheckpointPhase(StrEnum):
    """Where a checkpoint is; one that could not be made is gone, and the cluster's events say why."""

    MAKING = "making"
    READY = "ready"
    DELETING = "deleting"


class TemplatePhase(StrEnum):
    """Where a template is."""

    MAKING = "making"
    """A cluster is being made for it, and saved."""
    VERIFYING = "verifying"
    """Saved; its first fork is on trial."""
    READY = "ready"
    RETIRED = "retired"
    """No new forks; gone with the last of those that use it."""
    FAILED = "failed"
    GONE = "gone"


Readiness = Literal["usable", "nodes", "booted"]
"""What `ready` promises: a pod has run (usable), all nodes are Ready (nodes), all answer on SSH (booted).

Of a fork that is not only to be booted: a pod has run in its template, and SSH has answered in that template's first
fork; its own nodes are Ready, and their kubelets answer.
"""

Restart = Literal["always", "never"]
"""After the engine, the host or a machine of the cluster went down: `always` it is brought back, `never` it fails."""

VmsUnderHold = Literal["running", "stopped", "hibernated"]
"""What a hold does with the machines of a cluster that failed or expired. One that failed cannot hibernate: stopped."""

Isolation = Literal["shared", "strict"]
"""`shared`: it may be a fork of its owner's template, and then has the cluster CA of that template's other forks.
`strict`: it is made from nothing, with a CA of its own."""

ExpiryReason = Literal["ttl", "heartbeat"]
"""What ends a cluster: its time to live, or the time in which a heartbeat must come."""

WaitFor = Literal["ready", "hibernated", "settled", "deleted"]
"""What a request may wait for: `settled` is ready or failed; hibernated or deleted where that was asked for."""

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
"""A day of a pool's schedule."""
