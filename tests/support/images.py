"""Broken node images: real images with another manifest on top."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.image import ImageManifest
from tests.support.service import docker


def manifest_of(reference: str) -> ImageManifest:
    label = docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL_IMAGE}"}}}}', reference)
    return ImageManifest.model_validate_json(label)


@contextmanager
def variant(base: str, **changes: object) -> Iterator[str]:
    """The reference of an image like `base` whose manifest differs in `changes`; removed at the end."""
    reference = f"dayfly-test/{secrets.token_hex(4)}:latest"
    manifest = json.dumps(manifest_of(base).model_dump(mode="json") | changes)
    build = ["docker", "build", "--quiet", "--tag", reference, "--label", f"{LABEL_IMAGE}={manifest}", "-"]
    subprocess.run(build, input=f"FROM {base}\n".encode(), check=True, capture_output=True, timeout=120)
    try:
        yield reference
    finally:
        docker("image", "rm", "--force", reference)
