"""The one tree of errors. Each has a stable `code`, which callers may rely on, and says whether trying again can help.

    DayflyError
    ├── InvalidRequest            bad input: the caller must change it                          (HTTP 422)
    │   ├── BadName               not a name a cluster can have                 bad_name
    │   ├── ImageMissing          no such image on this engine                  image_missing
    │   ├── NotANodeImage         an image, but none that Dayfly baked          not_a_node_image
    │   ├── ImpossibleSize        more than the image or the plan can give      impossible_size
    │   ├── Capacity              more than the host can ever give              capacity
    │   └── TooManyNodes          more nodes than there are addresses           too_many_nodes
    ├── NotFound                  no such cluster, node, …                                      (HTTP 404)
    │   └── NoKubernetes          a cluster of plain machines has none          no_kubernetes
    ├── Conflict                  not in this state, or not any more                            (HTTP 409)
    │   ├── IdempotencyKeyReused  the key was for another request               idempotency_key_reused
    │   ├── NameTaken             a living cluster has the name                 name_taken
    │   └── NotReady              asked for what only a ready cluster has       not_ready
    ├── LeaseLost                 another worker has the cluster now            lease_lost
    ├── InfrastructureError       no cluster's fault: it is waited for                          (HTTP 503)
    │   ├── DatabaseUnavailable   the database does not answer                  database_unavailable
    │   └── EngineUnavailable     the engine does not answer                    engine_unavailable
    └── Failure                   the world did not do as asked
        ├── DatabaseInUse         another process has the SQLite file           database_in_use
        ├── EngineRefused         the engine answered: no                       engine_refused
        ├── NotRemoved            still there after its removal                 not_removed
        ├── RegistryRefused       a registry's login or TLS is not in order     registry_refused
        ├── PortsExhausted        no host port is free                          ports_exhausted
        ├── DiskFull              no space left on the device                   disk_full
        ├── ContainerExited       a container ended by itself                   container_exited
        ├── ContainerRemoved      somebody else removed a container             container_removed
        ├── EngineRestarted       all ended at once, and were to stay down      engine_restarted
        ├── VmExited              QEMU ended by itself                          vm_exited
        ├── Expired               its time is over, and a hold keeps it         expired
        ├── DhcpTimeout           a node never asked for its address            dhcp_timeout
        ├── SshTimeout            a node never answered                         ssh_timeout
        ├── SshRefused            a node answered, but not as who it should be  ssh_refused
        ├── CommandFailed         a command on a node ended non-zero            command_failed
        ├── ControlPlaneInit      kubeadm init failed                           control_plane_init
        ├── JoinFailed            kubeadm join failed                           join
        ├── NodeNotReady          a node did not become Ready in time           node_not_ready
        ├── NotUsable             Ready, yet no pod ran                         not_usable
        ├── SavedStateMissing     what was saved of a machine is not there      saved_state_missing
        ├── SavedElsewhere        saved on another processor or accelerator     saved_elsewhere
        ├── CheckpointNotLoaded   a checkpoint cannot be gone back to           checkpoint_not_loaded
        ├── StepTimeout           a step took longer than its limit             step_timeout
        ├── ImageBroken           a node image misses what its manifest names   image_broken
        ├── BakeFailed            a bake phase ended non-zero                   bake_failed
        └── Internal              our own defect; the log has the traceback     internal

What belongs here: names and codes. What does not: HTTP (api/problems.py renders these) and texts for one occasion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class DayflyError(Exception):
    """Root of the tree.

    `message` is one sentence for a person. `evidence` maps a short name ("console", "stderr") to text; it is shown
    to callers and kept in the database, so it never holds a secret.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.evidence: dict[str, str] = dict(evidence or {})


class InvalidRequest(DayflyError):
    """Bad input: the caller must change it."""

    code = "invalid_request"


class BadName(InvalidRequest):
    """Not a name that a cluster can have."""

    code = "bad_name"


class ImageMissing(InvalidRequest):
    """No such image on this engine."""

    code = "image_missing"


class NotANodeImage(InvalidRequest):
    """An image, but none that Dayfly baked."""

    code = "not_a_node_image"


class ImpossibleSize(InvalidRequest):
    """More, or less, than the image or the plan can give."""

    code = "impossible_size"


class Capacity(InvalidRequest):
    """More than the host can give, even if nothing else ran on it."""

    code = "capacity"


class TooManyNodes(InvalidRequest):
    """More nodes than there are addresses."""

    code = "too_many_nodes"


class NotFound(DayflyError):
    """No such cluster, node, image or route."""

    code = "not_found"


class NoKubernetes(NotFound):
    """The cluster is one of plain machines, without Kubernetes."""

    code = "no_kubernetes"


class Conflict(DayflyError):
    """Not possible in the present state."""

    code = "conflict"


class IdempotencyKeyReused(Conflict):
    """The idempotency key was used for another request."""

    code = "idempotency_key_reused"


class NameTaken(Conflict):
    """A cluster that is not yet wholly deleted has the name."""

    code = "name_taken"


class NotReady(Conflict):
    """Asked for what only a ready cluster has."""

    code = "not_ready"


class LeaseLost(DayflyError):
    """Another worker has the cluster now; whoever sees this stops at once and writes nothing more."""

    code = "lease_lost"


class InfrastructureError(DayflyError):
    """What every cluster needs does not answer.

    No cluster fails by it: the worker requeues the cluster (controllers/cluster/outages.py).
    `needed` names what is away; `step` the step that it interrupted, where that step does not record its own events.
    """

    retryable = True
    needed: ClassVar[str] = "infrastructure"
    step: str | None = None

    @property
    def waiting(self) -> str:
        """One sentence of a cluster that waits for it."""
        return f"waiting for the {self.needed}: {self.message}"


class DatabaseUnavailable(InfrastructureError):
    """The database does not answer, or not in time."""

    code = "database_unavailable"
    needed = "database"


class EngineUnavailable(InfrastructureError):
    """The engine does not answer."""

    code = "engine_unavailable"
    needed = "engine"


class Failure(DayflyError):
    """The world did not do as asked."""


class DatabaseInUse(Failure):
    """Another process has the SQLite database open."""

    code = "database_in_use"


class EngineRefused(Failure):
    """The engine answered with an error of its own."""

    code = "engine_refused"
    retryable = True


class RegistryRefused(Failure):
    """A registry of images refused, or its login on this machine cannot be read."""

    code = "registry_refused"


class NotRemoved(Failure):
    """The engine accepted a removal, and the container, volume, network or image is still there."""

    code = "not_removed"
    retryable = True


class PortsExhausted(Failure):
    """No host port of the configured range is free."""

    code = "ports_exhausted"
    retryable = True


class DiskFull(Failure):
    """No space left on the device."""

    code = "disk_full"


class ContainerExited(Failure):
    """A container of the cluster ended by itself."""

    code = "container_exited"
    retryable = True


class ContainerRemoved(Failure):
    """Somebody other than Dayfly removed a container of the cluster, and what was in it."""

    code = "container_removed"


class EngineRestarted(Failure):
    """The engine or its host was restarted, and the cluster was not to be started again."""

    code = "engine_restarted"


class Expired(Failure):
    """The cluster's time is over; a hold keeps what is left of it."""

    code = "expired"


class DhcpTimeout(Failure):
    """A node never asked for its address: its guest did not come up."""

    code = "dhcp_timeout"
    retryable = True


class VmExited(Failure):
    """QEMU ended by itself."""

    code = "vm_exited"
    retryable = True


class SshTimeout(Failure):
    """A node never answered on SSH."""

    code = "ssh_timeout"
    retryable = True


class SshRefused(Failure):
    """A node answered on SSH, but refused us or was not who it should be."""

    code = "ssh_refused"


class CommandFailed(Failure):
    """A command on a node ended non-zero."""

    code = "command_failed"
    retryable = True


class ControlPlaneInit(Failure):
    """kubeadm init failed."""

    code = "control_plane_init"
    retryable = True


class JoinFailed(Failure):
    """kubeadm join failed."""

    code = "join"
    retryable = True


class NodeNotReady(Failure):
    """A node did not become Ready in time."""

    code = "node_not_ready"


class NotUsable(Failure):
    """All nodes are Ready, yet no pod ran."""

    code = "not_usable"


class SavedStateMissing(Failure):
    """What was saved of a machine is not there, or not any more."""

    code = "saved_state_missing"


class SavedElsewhere(Failure):
    """A machine was saved with another accelerator, processor, microcode or host kernel than there is now."""

    code = "saved_elsewhere"


class CheckpointNotLoaded(Failure):
    """The cluster was to go back to a checkpoint, and its machines could not be loaded from there."""

    code = "checkpoint_not_loaded"


class StepTimeout(Failure):
    """A step took longer than its limit."""

    code = "step_timeout"


class ImageBroken(Failure):
    """A node image misses what its manifest names."""

    code = "image_broken"


class BakeFailed(Failure):
    """A phase of an image's bake failed."""

    code = "bake_failed"


class Internal(Failure):
    """A defect of Dayfly's own; the log has the traceback."""

    code = "internal"
