"""The seed: what a guest needs before its init runs, as a tar that QEMU shows it and its initrd unpacks.

It holds keys, so it goes into the node's container as a file and never into an image or a command line.
"""

from __future__ import annotations

import hashlib
import io
import tarfile

from dayfly.domain import qemu
from dayfly.domain.secrets import ClusterSecrets
from dayfly.domain.spec import Node
from dayfly.drivers.protocols import File


def seed_file(cluster_id: str, node: Node, secrets: ClusterSecrets) -> File:
    """The seed of one node, ready to be put into its container."""
    files = (
        File("/root/.ssh/authorized_keys", f"{secrets.user_key.public}\n".encode()),
        File("/etc/ssh/ssh_host_ed25519_key", secrets.host_key.private.encode()),
        File("/etc/ssh/ssh_host_ed25519_key.pub", f"{secrets.host_key.public}\n".encode(), 0o644),
        File("/etc/machine-id", f"{_machine_id(cluster_id, node)}\n".encode(), 0o444),
        File("/etc/hostname", f"{node.name}\n".encode(), 0o644),
    )
    return File(qemu.SEED_FILE, tar_of(files))


def tar_of(files: tuple[File, ...]) -> bytes:
    """An uncompressed tar of `files` with their folders, owned by root; the same input gives the same bytes."""
    folders = sorted({folder for file in files for folder in _parents(file.path)})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type = tarfile.DIRTYPE
            # sshd refuses keys in a folder that others may write; 0700 only where secrets lie.
            entry.mode = 0o700 if folder in {"/root", "/root/.ssh"} else 0o755
            tar.addfile(entry)
        for file in files:
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.mode, entry.size = file.mode, len(file.content)
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def _parents(path: str) -> list[str]:
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _machine_id(cluster_id: str, node: Node) -> str:
    return hashlib.sha256(f"{cluster_id}/{node.name}".encode()).hexdigest()[:32]
