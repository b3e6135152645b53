"""Failures of bases: a cloud image cannot be downloaded, is not the announced one, or cannot become a node."""

from __future__ import annotations

from dayfly.errors.failures import Failure


class BaseFetchFailed(Failure, code="base_fetch_failed", retryable=True):
    """A base's image or checksum file could not be downloaded or read."""


class BaseTruncated(Failure, code="base_truncated", retryable=True):
    """The server ended the download of a base's image early, again and again."""


class BaseContentDiffers(Failure, code="base_content_differs"):
    """A base's image has another content than its checksum says."""


class BaseSignatureInvalid(Failure, code="base_signature_invalid"):
    """A base's checksum file has no valid signature by the base's key."""


class BaseSignatureExpired(Failure, code="base_signature_expired"):
    """The signature of a base's checksum file has expired, or its key has."""


class BaseChecksumMissing(Failure, code="base_checksum_missing"):
    """A base's checksum file has no checksum of the image."""


class NotADiskImage(Failure, code="not_a_disk_image"):
    """A base's image is not a disk image that can be used."""


class NoBootLoader(Failure, code="no_boot_loader"):
    """A base's image cannot boot in the way that the base names."""


class NoCloudInit(Failure, code="no_cloud_init"):
    """A base's image has no cloud-init."""


class CloudInitFailed(Failure, code="cloud_init_failed"):
    """cloud-init failed in the first boot of a base's image."""
