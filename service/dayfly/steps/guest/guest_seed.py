"""The seed: what a guest needs before its init runs, as a tar that QEMU attaches and the initrd unpacks.

It holds keys, so it is a file in the node's container, and never part of an image or a command line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.spec import Node
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.drivers.interfaces import File
from dayfly.drivers.tar import archive


def seed_file(cluster_id: str, node: Node, secrets: ClusterSecrets, more: Sequence[File] = ()) -> File:
    return File(qemu_cmdline.SEED_FILE, identity(cluster_id, node, secrets, more))


def identity(
    cluster_id: str,
    node: Node,
    secrets: ClusterSecrets,
    more: Sequence[File] = (),
    folders: Mapping[str, int] | None = None,
) -> bytes:
    """The identity of a node, as a tar, with `more` files and `folders` (path to mode)."""
    files = (
        File("/root/.ssh/authorized_keys", f"{secrets.user_key.public}\n".encode()),
        File("/etc/ssh/ssh_host_ed25519_key", secrets.host_key.private.encode()),
        File("/etc/ssh/ssh_host_ed25519_key.pub", f"{secrets.host_key.public}\n".encode(), 0o644),
        File("/etc/machine-id", f"{_machine_id(cluster_id, node)}\n".encode(), 0o444),
        File("/etc/hostname", f"{node.name}\n".encode(), 0o644),
    )
    # sshd refuses keys in a folder that other users can write to.
    return archive((*files, *more), {"/root/.ssh": 0o700, **(folders or {})})


def _machine_id(cluster_id: str, node: Node) -> str:
    return hashlib.sha256(f"{cluster_id}/{node.name}".encode()).hexdigest()[:32]
