"""The values that the domain, the API and the client share: phases, purposes, choices, and patterns of names.

It needs only the standard library, so that the client needs no part of the server. Modules of domain/cluster export the
values that they have rules for. Not here: these rules (domain/).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Literal

CLUSTER_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
"""A DNS label of at most 40 characters that starts with a letter, so that no name looks like an id."""
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST: Final = rf"({_LABEL}(\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(:[0-9]+)?"
_PART: Final = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_DIGEST: Final = r"[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}"
IMAGE_REFERENCE: Final = re.compile(
    rf"sha256:[0-9a-f]{{64}}|({_HOST}/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@{_DIGEST})?"
)
"""An image's id, or [HOST[:PORT]/]PATH[:TAG][@DIGEST] as the distribution project defines references.

No `..`, no empty part: a reference becomes part of a path of the engine's API."""
IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""The content id of an image, which the catalog calls its digest."""
IMAGE_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,38}[a-z0-9])?")
"""The name of node images that callers use: `k8s-debian`."""
IMAGE_VERSION: Final = re.compile(r"v?[0-9]{1,4}(\.[0-9]{1,4}){0,2}")
"""A version of Kubernetes or its beginning: `1.35`, `v1.20.2`."""
NODE_IMAGE: Final = re.compile(
    rf"{IMAGE_REFERENCE.pattern}|(dayfly/)?{IMAGE_NAME.pattern}@(latest|{IMAGE_VERSION.pattern})"
)
"""How callers name a node image: IMAGE_REFERENCE, `k8s@latest`, `k8s@1.35`."""
CHECKPOINT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
PORT_NAME: Final = CHECKPOINT_NAME
ADDON_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
MAX_ADDONS: Final = 32
MAX_SPECS: Final = 500
"""More than the conformance specs of any version of Kubernetes."""
MAX_PORTS: Final = 16
MAX_NODES: Final = 99
"""Of a cluster: 192.168.66.101 to .199; two decimal digits in names and MACs."""
MAX_DISK_GIB: Final = 16 * 1024
"""Of a node."""
"""A cluster publishes at most so many ports of its nodes and Services beside those that every cluster publishes."""


class Desired(StrEnum):
    """The state that was requested."""

    PRESENT = "present"
    HIBERNATED = "hibernated"
    ABSENT = "absent"


class Phase(StrEnum):
    """The phase of a cluster; only the reconciler writes it."""

    PENDING = "pending"
    """Accepted, or about to resume: it waits in the queue until the host has resources for it."""
    PROVISIONING = "provisioning"
    """A worker creates, resets, resumes or recovers it."""
    READY = "ready"
    """Everything that the spec requests holds."""
    HIBERNATED = "hibernated"
    """The memory of its machines is on disk, and no container runs; `resume` continues from there."""
    FAILED = "failed"
    """Given up, with an error code. The evidence is kept; containers are kept only under a hold."""
    DELETING = "deleting"
    """It is being removed; its name is still taken."""
    DELETED = "deleted"
    """Only its row is left; its name is free."""


class OutputFormat(StrEnum):
    """How the command line prints a result; a table or a sentence without one."""

    JSON = "json"
    """The API's representation."""
    YAML = "yaml"
    NAME = "name"
    """Only names, a line each; of templates the ids."""
    WIDE = "wide"
    """The table with more columns."""


class Purpose(StrEnum):
    """What a cluster is for."""

    CLUSTER = "cluster"
    """It belongs to a caller."""
    TEMPLATE = "template"
    """It builds a template, and is then removed."""
    VERIFICATION = "verification"
    """The first fork of a template: it verifies the template, and is then removed."""
    POOL_MEMBER = "pool_member"
    """It waits in a pool, paused, for a caller."""


class StepState(StrEnum):
    """The reported state of a step; its check decides whether it is done."""

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class CheckpointPhase(StrEnum):
    """The phase of a checkpoint. One that fails leaves no record; the cluster's events give the reason."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"


class AddonSource(StrEnum):
    """Where the container images of an add-on come from."""

    BAKED = "baked"
    """The node image has them."""
    PULLED = "pulled"
    """Nodes pull them, through the installation's caches of registries."""


class AddonState(StrEnum):
    """The state of one add-on of a cluster, as last observed."""

    PENDING = "pending"
    """It is to be installed, or was not seen to work since the machines started from another source."""
    READY = "ready"
    FAILED = "failed"
    REMOVING = "removing"


class ImageState(StrEnum):
    """The state of a node image."""

    PRESENT = "present"
    RETIRED = "retired"
    """No new cluster may use it; it is removed from the engine when nothing has used it for a time."""
    COLLECTED = "collected"
    """It was removed from the engine; only its record is left."""


class ImageEvent(StrEnum):
    """What happened to a name of node images, or to one of its images."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    RETIRED = "retired"
    COLLECTED = "collected"


class TemplatePhase(StrEnum):
    """The phase of a template."""

    BUILDING = "building"
    """A cluster is created for it, and its snapshot taken."""
    VERIFYING = "verifying"
    """The snapshot is there; its first fork verifies it."""
    READY = "ready"
    RETIRING = "retiring"
    """It serves no new forks, and is retired when the last of its forks is deleted."""
    FAILED = "failed"
    RETIRED = "retired"
    """Only its record is left."""


class BakePhase(StrEnum):
    """The phase of a bake that was requested over HTTP."""

    QUEUED = "queued"
    """It waits for a builder, or for a bake before it."""
    RUNNING = "running"
    """A builder works on it. After a request to cancel it: the builder ends it, and removes what is unfinished."""
    SUCCEEDED = "succeeded"
    """The image was verified, and has its names."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class TokenKind(StrEnum):
    """Whose a token is."""

    SERVICE = "service"
    """A program's: a service account."""
    PERSON = "person"


RoleName = Literal["viewer", "user", "admin", "operator"]
"""A role over HTTP (domain/security/principal.py): of one team, but an operator's is of the installation."""


class WebhookEvent(StrEnum):
    """What a webhook can be called for."""

    READY = "ready"
    """A cluster is ready: first, or again after a reset, a resumption or a recovery."""
    FAILED = "failed"
    EXPIRING = "expiring"
    """A cluster expires soon."""
    HIBERNATED = "hibernated"
    DELETED = "deleted"
    """Nothing of a cluster is left but its record."""
    QUOTA = "quota"
    """A request was refused because of the team's quota."""


WEBHOOK_TEST: Final = "test"
"""The type of a test call, which no webhook subscribes to."""


class DeliveryState(StrEnum):
    """The state of one message to one webhook."""

    PENDING = "pending"
    """It is to be sent, for the first time or again."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """All attempts of a day failed; it can be sent again on request."""


BakeWait = Literal["ended"]
"""The state of a bake that a request waits for: `ended` is succeeded, failed or cancelled."""

Readiness = Literal["usable", "nodes", "booted"]
"""The guarantee of `ready`: a pod has run (usable), all nodes are Ready (nodes), all answer on SSH (booted).

For a fork with Kubernetes: its nodes are Ready and their kubelets answer; the pod has run in its template, and SSH has
answered in that template's first fork.
"""

ClusterReadiness = Literal["conformance", "usable", "nodes", "booted"]
"""What a cluster's caller may ask of `ready`: Readiness, or `usable` and then a list of conformance specs that passed.

The specs run on a cluster that nobody has used yet: before its first `ready`, and after a reset to its pristine state.
"""

Restart = Literal["always", "never"]
"""After a failure of the engine, the host or a machine: `always` restarts the cluster, `never` lets it fail."""

VmsUnderHold = Literal["running", "stopped", "hibernated"]
"""A hold's treatment of the machines of a failed or expired cluster. A failed cluster is stopped, not hibernated."""

Isolation = Literal["shared", "strict"]
"""`shared`: the cluster may be a fork of its owner's template, with the same cluster CA as the template's other forks.
`strict`: the cluster boots from its image, with a CA of its own."""

TeamIsolation = Literal["shared", "strict", "strict_only"]
"""Of a team's new clusters: that of requests which name none, `shared` or `strict`; or each of them is strict."""

ExpiryReason = Literal["ttl", "heartbeat"]
"""The reason of an expiry: the time to live is over, or no heartbeat came in time."""

WaitFor = Literal["ready", "hibernated", "settled", "deleted"]
"""The state that a request waits for: `settled` is ready or failed, or hibernated or deleted where that is desired."""

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
"""A day of a pool's schedule."""
