"""The manifest of a node image: a bake writes it, and readers find it in the image's label `dayfly.image`.

The manifest is the whole contract between image and service: no other code knows which recipe an image came from.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION: Final = 2
"""2: /usr/lib/dayfly/node reads how its machine starts from a file."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSize(_Frozen):
    """The size of one node. vCPUs, MiB of memory, GiB of disk (the guest's file system can grow to it)."""

    vcpus: int
    memory_mib: int
    disk_gib: int


class KubernetesNode(_Frozen):
    """How to make a Kubernetes node of a booted machine, without knowing the version.

    The two programs live in the image and are run as root over SSH, with /etc/dayfly/cluster.env and the PKI in place
    (steps/guest/node_files.py says what they find there). Each may be run again after it was interrupted; with `--done`
    it only tells, by its exit code, whether all its work has been done. A line that begins with "dayfly: " is progress
    for people, all other output is evidence should the program end non-zero.
    """

    version: str
    init: str = "/usr/lib/dayfly/control-plane"
    join: str = "/usr/lib/dayfly/join"
    smoke_image: str
    """An image every node already has, with a shell at /bin/sh: the smoke pod runs it."""


class ImageManifest(_Frozen):
    """One node image. Paths are inside the container; sizes as in NodeSize."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    """Counts changes of what containers of an image are told. Clusters of an earlier one stay; no new ones are made."""
    recipe: str
    kernel: str = "/dayfly/vmlinuz"
    initrd: str = "/dayfly/initrd"
    disk: str = "/dayfly/disk.qcow2"
    kernel_arguments: tuple[str, ...] = ()
    control_plane: NodeSize
    """What a control plane gets when the request says nothing; the first node, for an image without Kubernetes."""
    worker: NodeSize
    minimum: NodeSize
    kubernetes: KubernetesNode | None = None
    verify: tuple[str, ...] = ()
    """Shell commands that must succeed on a booted node before a bake's result may be used."""
    digest: str = ""
    """The hash of everything the image was made from; bakes with the same digest are the same image."""
