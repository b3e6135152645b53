"""Failures: an operation on the engine, a VM, a node, an image or the database file went wrong."""

from __future__ import annotations

from dayfly.errors.base import DayflyError


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
