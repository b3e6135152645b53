"""The tree of errors. Each has a stable `code`, which callers may rely on, and a flag `retryable`.

    DayflyError
    ├── InvalidRequest            the request is invalid                                        (HTTP 422)
    │   ├── BadName               the name is not valid                         bad_name
    │   ├── ImageMissing          no such image on this engine                  image_missing
    │   ├── NotANodeImage         not a node image of this Dayfly               not_a_node_image
    │   ├── ImpossibleSize        the image or the plan does not allow the size impossible_size
    │   ├── Capacity              larger than the whole host                    capacity
    │   └── TooManyNodes          more nodes than addresses                     too_many_nodes
    ├── NotFound                  no such cluster, node, …                                      (HTTP 404)
    │   └── NoKubernetes          the cluster has no Kubernetes                 no_kubernetes
    ├── Conflict                  not possible in the present state                             (HTTP 409)
    │   ├── IdempotencyKeyReused  the key belongs to another request            idempotency_key_reused
    │   ├── NameTaken             a living cluster or a pool has the name       name_taken
    │   └── NotReady              the cluster is not ready                      not_ready
    ├── LeaseLost                 another worker has the lease                  lease_lost
    ├── InfrastructureError       an outage: the worker requeues the cluster                    (HTTP 503)
    │   ├── DatabaseUnavailable   the database does not answer                  database_unavailable
    │   └── EngineUnavailable     the engine does not answer                    engine_unavailable
    └── Failure                   an operation failed
        ├── DatabaseInUse         another process has the SQLite file open      database_in_use
        ├── EngineRefused         the engine returned an error                  engine_refused
        ├── NotRemoved            an object still exists after its removal      not_removed
        ├── RegistryRefused       a registry's login or TLS is invalid          registry_refused
        ├── PortsExhausted        no host port is free                          ports_exhausted
        ├── DiskFull              no space left on the device                   disk_full
        ├── ContainerExited       a container ended by itself                   container_exited
        ├── ContainerRemoved      a container was removed from outside          container_removed
        ├── EngineRestarted       engine or host restarted, the cluster did not engine_restarted
        ├── VmExited              QEMU ended by itself                          vm_exited
        ├── Expired               a hold keeps the expired cluster              expired
        ├── DhcpTimeout           a node did not request its address            dhcp_timeout
        ├── SshTimeout            a node did not answer on SSH                  ssh_timeout
        ├── SshRefused            a node rejected SSH, or has another host key  ssh_refused
        ├── CommandFailed         a command on a node ended non-zero            command_failed
        ├── ControlPlaneInit      kubeadm init failed                           control_plane_init
        ├── JoinFailed            kubeadm join failed                           join
        ├── NodeNotReady          a node did not become Ready in time           node_not_ready
        ├── NotUsable             Ready, yet no pod ran                         not_usable
        ├── SavedStateMissing     a VM's snapshot is missing                    saved_state_missing
        ├── SavedElsewhere        snapshot of another host or accelerator       saved_elsewhere
        ├── CheckpointNotLoaded   a checkpoint cannot be restored               checkpoint_not_loaded
        ├── StepTimeout           a step took longer than its limit             step_timeout
        ├── ImageBroken           a node image lacks parts of its manifest      image_broken
        ├── BakeFailed            a bake phase failed                           bake_failed
        └── Internal              a defect of Dayfly; the log has the traceback internal

The first line of a class's docstring is the title of its problems. Not here: HTTP (api/problems.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class DayflyError(Exception):
    """Root of the tree.

    `message` is one sentence for people. `evidence` maps a short name ("console", "stderr") to text; evidence is shown
    to callers and stored in the database, and must not contain a secret.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.evidence: dict[str, str] = dict(evidence or {})


class InvalidRequest(DayflyError):
    """The request is invalid."""

    code = "invalid_request"


class BadName(InvalidRequest):
    """The name is not valid."""

    code = "bad_name"


class ImageMissing(InvalidRequest):
    """No such image on this engine."""

    code = "image_missing"


class NotANodeImage(InvalidRequest):
    """The image is not a node image of this Dayfly."""

    code = "not_a_node_image"


class ImpossibleSize(InvalidRequest):
    """The size is more, or less, than the image or the plan allows."""

    code = "impossible_size"


class Capacity(InvalidRequest):
    """The cluster is larger than the whole host."""

    code = "capacity"


class TooManyNodes(InvalidRequest):
    """The cluster has more nodes than addresses."""

    code = "too_many_nodes"


class NotFound(DayflyError):
    """No such cluster, node, image or route."""

    code = "not_found"


class NoKubernetes(NotFound):
    """The cluster has no Kubernetes."""

    code = "no_kubernetes"


class Conflict(DayflyError):
    """Not possible in the present state."""

    code = "conflict"


class IdempotencyKeyReused(Conflict):
    """The idempotency key belongs to another request."""

    code = "idempotency_key_reused"


class NameTaken(Conflict):
    """A cluster that is not deleted, or a pool, has the name."""

    code = "name_taken"


class NotReady(Conflict):
    """The cluster is not ready."""

    code = "not_ready"


class LeaseLost(DayflyError):
    """Another worker has the lease: this worker must stop at once and write nothing more."""

    code = "lease_lost"


class InfrastructureError(DayflyError):
    """The database or the engine does not answer.

    No cluster fails because of an outage: the worker requeues the cluster (controllers/cluster/outages.py).
    `needed`: the missing dependency. `step`: the interrupted step, if that step does not record its own events.
    """

    retryable = True
    needed: ClassVar[str] = "infrastructure"
    step: str | None = None

    @property
    def waiting(self) -> str:
        """A sentence for the events of a waiting cluster."""
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
    """An operation failed."""


class DatabaseInUse(Failure):
    """Another process has the SQLite database open."""

    code = "database_in_use"


class EngineRefused(Failure):
    """The engine returned an error."""

    code = "engine_refused"
    retryable = True


class RegistryRefused(Failure):
    """An image registry rejected the request, or its login on this machine cannot be read."""

    code = "registry_refused"


class NotRemoved(Failure):
    """The engine accepted a removal, but the container, volume, network or image still exists."""

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
    """A container of the cluster was removed, but not by Dayfly."""

    code = "container_removed"


class EngineRestarted(Failure):
    """The engine or its host restarted, and the cluster is not restarted after that."""

    code = "engine_restarted"


class Expired(Failure):
    """The cluster expired, and a hold keeps it."""

    code = "expired"


class DhcpTimeout(Failure):
    """A node did not request its address: its guest did not boot."""

    code = "dhcp_timeout"
    retryable = True


class VmExited(Failure):
    """QEMU ended by itself."""

    code = "vm_exited"
    retryable = True


class SshTimeout(Failure):
    """A node did not answer on SSH."""

    code = "ssh_timeout"
    retryable = True


class SshRefused(Failure):
    """A node rejected the SSH login, or showed another host key."""

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
    """The snapshot of a VM is missing."""

    code = "saved_state_missing"


class SavedElsewhere(Failure):
    """A snapshot is from another accelerator, processor, microcode or host kernel."""

    code = "saved_elsewhere"


class CheckpointNotLoaded(Failure):
    """The cluster could not be restored from its checkpoint."""

    code = "checkpoint_not_loaded"


class StepTimeout(Failure):
    """A step took longer than its limit."""

    code = "step_timeout"


class ImageBroken(Failure):
    """A node image lacks parts that its manifest names."""

    code = "image_broken"


class BakeFailed(Failure):
    """A phase of an image's bake failed."""

    code = "bake_failed"


class Internal(Failure):
    """A defect of Dayfly; the log has the traceback."""

    code = "internal"
