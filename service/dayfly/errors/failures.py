"""Failures: an operation on the engine, a VM, a node, an image or the database file went wrong."""

from __future__ import annotations

from dayfly.errors.base import DayflyError


class Failure(DayflyError):
    """An operation failed."""


class DatabaseInUse(Failure, code="database_in_use"):
    """Another process has the SQLite database open."""


class EngineRefused(Failure, code="engine_refused", retryable=True):
    """The engine returned an error."""


class RegistryRefused(Failure, code="registry_refused"):
    """An image registry rejected the request, or its login on this machine cannot be read."""


class NotRemoved(Failure, code="not_removed", retryable=True):
    """The engine accepted a removal, but the container, volume, network or image still exists."""


class PortsExhausted(Failure, code="ports_exhausted", retryable=True):
    """No host port of the configured range is free."""


class TlsUnusable(Failure, code="tls_unusable"):
    """The certificate or key of the API's server cannot be used."""


class SecretsKeyUnusable(Failure, code="secrets_key_unusable"):
    """The file or the variable with the keys of the database's secrets cannot be used."""


class SecretDamaged(Failure, code="secret_damaged"):
    """A secret in the database cannot be decrypted: it was changed outside of Dayfly."""


class DiskFull(Failure, code="disk_full"):
    """No space left on the device."""


class ContainerExited(Failure, code="container_exited", retryable=True):
    """A container of the cluster ended by itself."""


class ContainerRemoved(Failure, code="container_removed"):
    """A container of the cluster was removed, but not by Dayfly."""


class EngineRestarted(Failure, code="engine_restarted"):
    """The engine or its host restarted, and the cluster is not restarted after that."""


class Expired(Failure, code="expired"):
    """The cluster expired, and a hold keeps it."""


class DhcpTimeout(Failure, code="dhcp_timeout", retryable=True):
    """A node did not request its address: its guest did not boot."""


class VmExited(Failure, code="vm_exited", retryable=True):
    """QEMU ended by itself."""


class SshTimeout(Failure, code="ssh_timeout", retryable=True):
    """A node did not answer on SSH."""


class SshRefused(Failure, code="ssh_refused"):
    """A node rejected the SSH login, or showed another host key."""


class CommandFailed(Failure, code="command_failed", retryable=True):
    """A command on a node ended non-zero."""


class ControlPlaneInit(Failure, code="control_plane_init", retryable=True):
    """kubeadm init failed."""


class JoinFailed(Failure, code="join", retryable=True):
    """kubeadm join failed."""


class NodeNotReady(Failure, code="node_not_ready"):
    """A node did not become Ready in time."""


class NotUsable(Failure, code="not_usable"):
    """All nodes are Ready, yet no pod ran."""


class AddonFailed(Failure, code="addon_failed"):
    """An add-on could not be installed or removed, or does not work."""

    addon: str | None = None
    """The name of the add-on, which the message has as well."""


class AddonFetchFailed(Failure, code="addon_fetch_failed", retryable=True):
    """A manifest of an add-on could not be downloaded or read."""


class AddonContentDiffers(Failure, code="addon_content_differs"):
    """A manifest of an add-on has another content than its digest says."""


class ConformanceFailed(Failure, code="conformance_failed"):
    """Conformance specs failed, did not end in time, or do not exist."""


class SavedStateMissing(Failure, code="saved_state_missing"):
    """The snapshot of a VM is missing."""


class SavedElsewhere(Failure, code="saved_elsewhere"):
    """A snapshot is from another accelerator, processor, microcode or host kernel."""


class CheckpointNotLoaded(Failure, code="checkpoint_not_loaded"):
    """The cluster could not be restored from its checkpoint."""


class StepTimeout(Failure, code="step_timeout"):
    """A step took longer than its limit."""


class ImageBroken(Failure, code="image_broken"):
    """A node image lacks parts that its manifest names."""


class BakeFailed(Failure, code="bake_failed"):
    """A phase of an image's bake failed."""


class UpstreamUnavailable(Failure, code="upstream_unavailable", retryable=True):
    """An address that a bake needs does not answer as it should."""


class BakeInterrupted(Failure, code="bake_interrupted"):
    """The builders of a bake ended before the bake did, more often than a bake is begun again."""


class Internal(Failure, code="internal"):
    """A defect of Dayfly; the log has the traceback."""
