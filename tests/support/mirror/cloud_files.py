"""A cloud image as its distribution publishes it: the file, its checksums, their signatures and the key.

Both forms: SHA256SUMS with SHA256SUMS.gpg, and a clear-signed CHECKSUM with BSD's lines. Not here: the image
(cloud_image.py), and HTTP (file_server.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.mirror.signing import SigningKey

SUMS: Final = "SHA256SUMS"
SUMS_SIGNATURE: Final = "SHA256SUMS.gpg"
CLEAR_SIGNED: Final = "CHECKSUM"
KEY: Final = "KEY.asc"


@dataclass(frozen=True)
class Published:
    """A folder to be served. `sha256` is the checksum that the folder's files name."""

    folder: Path
    name: str
    sha256: str


def publish(
    image: Path,
    folder: Path,
    key: SigningKey,
    *,
    name: str = "debian-12-genericcloud-amd64.qcow2",
    signer: SigningKey | None = None,
    sha256: str | None = None,
    cut_at: int | None = None,
) -> Published:
    """Publish `image` as `name` in `folder` with the public key `key`.

    For broken mirrors: `signer` is the key of a forger, `sha256` a wrong checksum, and `cut_at` the length of a
    truncated file.
    """
    folder.mkdir(parents=True)
    if cut_at is None:
        (folder / name).symlink_to(image.resolve())
    else:
        with image.open("rb") as file:
            (folder / name).write_bytes(file.read(cut_at))
    if sha256 is None:
        with image.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    signer = signer or key
    sums = f"{sha256} *{name}\n".encode()
    (folder / SUMS).write_bytes(sums)
    (folder / SUMS_SIGNATURE).write_bytes(signer.sign_apart(sums))
    clear = f"# {name}: {image.stat().st_size} bytes\nSHA256 ({name}) = {sha256}\n".encode()
    (folder / CLEAR_SIGNED).write_bytes(signer.sign_in_line(clear))
    (folder / KEY).write_bytes(key.public)
    return Published(folder, name, sha256)
