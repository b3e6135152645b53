"""Cloud bases of tests: data that is valid, with what a test changes. Not here: images (disk_images.py)."""

from __future__ import annotations

import hashlib
from typing import Any

from dayfly.images.cloud_base import CloudBase

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def fields(**changes: Any) -> dict[str, Any]:
    """The fields of a base's file; a change to None takes the field out."""
    valid: dict[str, Any] = {
        "kind": "cloud-image",
        "description": "a test's",
        "url": "https://lab.invalid/images/disk.qcow2",
        "checksum": sha256(b""),
        "family": "apt",
        "boot": "bios",
        "user": "debian",
        "max_gib": 1,
    }
    return {name: value for name, value in (valid | changes).items() if value is not None}


def cloud_base(**changes: Any) -> CloudBase:
    return CloudBase.model_validate(fields(**changes))
