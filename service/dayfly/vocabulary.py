"""The values that the domain, the API and the client share: phases, purposes, choices, and patterns of names.

It needs only the standard library, so that the client needs no part of the server. The domain's modules export the
values that they have rules for. Not here: these rules (domain/).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Literal

CLUSTER_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
"""A DNS label of at most 40 characters that starts with a letter, so that no name looks like an id."""
CHECKPOINT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Desired(StrEnum):
    """The desired state of a cluster."""

    PRESENT = "present"
    HIBERNATED = "hibernated"
    ABSENT = "absent"


class Phase(StrEnum):
    """The phase of a cluster; only the reconciler writes it."""

    PENDING = "pending"
    """Created or resumed; queued until the host has room."""
    PROVISIONING = "provisioning"
    """A worker creates, resets, resumes or repairs the cluster."""
    READY = "ready"
    """The cluster is as its spec requests."""
    HIBERNATED = "hibernated"
    """The machines' memory is on disk and no container runs; a resumption restores the machines."""
    FAILED = "failed"
    """Failed for good, with an error code and evidence. Its containers are removed, unless a hold keeps them."""
    DELETING = "deleting"
    """The removal is under way; the name is still taken."""
    DELETED = "deleted"
    """Only the record is left; the name is free."""


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
    """The reported state of a step. The reconciler checks the engine instead of trusting it."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class CheckpointPhase(StrEnum):
    """The phase of a checkpoint. A failed checkpoint is removed, with the reason in the cluster's events."""

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
"""The guarantee of `ready`: a pod has run (usable), all nodes are Ready (nodes), all answer on SSH (booted).

For a fork with Kubernetes: its nodes are Ready and their kubelets answer; the pod has run in its template, and SSH has
answered in that template's first fork.
"""

Restart = Literal["always", "never"]
"""After a failure of the engine, the host or a machine: `always` restarts the cluster, `never` lets it fail."""

VmsUnderHold = Literal["running", "stopped", "hibernated"]
"""A hold's treatment of the machines of a failed or expired cluster. A failed cluster is stopped, not hibernated."""

Isolation = Literal["shared", "strict"]
"""`shared`: the cluster may be a fork of its owner's template, with the same cluster CA as the template's other forks.
`strict`: the cluster boots from its image, with a CA of its own."""

ExpiryReason = Literal["ttl", "heartbeat"]
"""The reason of an expiry: the time to live is over, or no heartbeat came in time."""

WaitFor = Literal["ready", "hibernated", "settled", "deleted"]
"""The state that a request waits for: `settled` is ready or failed, or hibernated or deleted where that is desired."""

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
"""A day of a pool's schedule."""
