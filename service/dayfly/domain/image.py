"""The manifest of a node image: a bake writes it, and readers find it in the image's label `dayfly.image`.

The manifest is the whole contract between image and service: no other code knows which recipe an image came from.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from dayfly.domain.addon import Addon

SCHEMA_VERSION: Final = 2
"""2: /usr/lib/dayfly/node reads its machine's disk and command line from a file."""


_LATER_FIELDS: Final = frozenset({"boot", "parents", "parent_recipes", "addons"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeSize(_Frozen):
    """The size of one node. vCPUs, MiB of memory, GiB of disk (the guest's file system can grow to it)."""

    vcpus: int
    memory_mib: int
    disk_gib: int


class Conformance(_Frozen):
    """Kubernetes' own conformance tests, on every node of the image (steps/guest/conformance_run.py has their use)."""

    program: str
    """Runs on the control plane: `start RUN SECONDS`, `status RUN`, `report RUN`, `stop`."""
    specs: tuple[str, ...] = Field(min_length=1)
    """The short list: full names of specs."""


class KubernetesNode(_Frozen):
    """The programs that make a Kubernetes node of a booted machine: the service need not know the version.

    The two programs are in the image and run as root over SSH, after /etc/dayfly/cluster.env and the PKI were written
    (steps/guest/node_files.py). An interrupted program may be run again. With `--done` a program only reports, by its
    exit code, whether its work is complete. A line that begins with "dayfly: " is progress for people; all other output
    is evidence if the program fails.
    """

    version: str
    init: str = "/usr/lib/dayfly/control-plane"
    join: str = "/usr/lib/dayfly/join"
    smoke_image: str
    """An image every node already has, with a shell at /bin/sh: the smoke pod runs it."""
    ready_paths: tuple[str, ...] = ()
    """Paths of the API server that answer 200 when what `init` deployed works, the cluster's DNS for one."""
    conformance: Conformance | None = None
    """None: the image has no conformance tests."""

    @model_serializer(mode="wrap")
    def _without_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `conformance` where there is none: the keys and labels of such images are those of older releases."""
        fields: dict[str, Any] = handler(self)
        return fields if self.conformance else {name: one for name, one in fields.items() if name != "conformance"}


Firmware = Literal["direct", "bios", "uefi"]
"""How a machine starts: with a kernel and an initrd handed over, or by the boot loader of its disk."""


class Boot(_Frozen):
    """How the nodes of an image start, where the disk is not one file system for kernel and initrd in the image."""

    firmware: Firmware
    root: str = "/dev/vda"
    """The kernel's `root=` of a direct boot: `PARTUUID=…` for a disk with partitions."""
    code: str = "/dayfly/firmware.fd"
    variables: str = "/dayfly/variables.fd"
    """UEFI's program and its pristine variables in the image. Each node has a copy of the variables."""


class ImageManifest(_Frozen):
    """One node image. Paths are inside the container; sizes as in NodeSize."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    """Counts changes of a container's input. Clusters of an earlier version keep running; no new ones are created."""
    recipe: str
    kernel: str = "/dayfly/vmlinuz"
    initrd: str = "/dayfly/initrd"
    disk: str = "/dayfly/disk.qcow2"
    kernel_arguments: tuple[str, ...] = ()
    control_plane: NodeSize
    """The default size of a control plane; of the first node, for an image without Kubernetes."""
    worker: NodeSize
    minimum: NodeSize
    kubernetes: KubernetesNode | None = None
    verify: tuple[str, ...] = ()
    """Shell commands that must succeed on a booted node before a bake's result may be used."""
    digest: str = ""
    """The hash of all inputs of the bake: bakes with the same digest give the same image."""
    boot: Boot | None = None
    """None: kernel and initrd of the image, and a disk that is one file system."""
    parents: tuple[str, ...] = ()
    """Of a layer: the digests of the images below it, the nearest first."""
    parent_recipes: tuple[str, ...] = ()
    """The recipes of `parents`: add-ons that run on their images run on this one."""
    addons: tuple[Addon, ...] = ()
    """The add-ons of every cluster of the image, but for those that are ready when they are booted."""

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without newer fields where they are empty: such images have the keys and labels of older releases."""
        fields: dict[str, Any] = handler(self)
        return {name: one for name, one in fields.items() if one or name not in _LATER_FIELDS}


class ImageContents(BaseModel):
    """What is inside a node image, as its bake saw it. No cluster needs it, so it is a label of its own.

    Labels of an image below are those of a layer, too: `digest` is that of the manifest that this belongs to.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    base: str | None = None
    packages: dict[str, str] | None = None
    """Package → version; None: a distribution that this release cannot ask."""
    inputs: str = ""
    """The key of the recipe without the state of its sources: it changes with recipe, base and roles."""
    state: str = ""
    """Of a rebuild, the fingerprint of what its sources had."""
    variant: bool = False
    """It was baked with variables of its own: it is not what its recipe gives."""


def read_contents(label: str | None, manifest: ImageManifest) -> ImageContents | None:
    """None: the image does not say, or its label is that of the image below."""
    try:
        found = ImageContents.model_validate_json(label or "")
    except ValidationError:
        return None
    return found if found.digest == manifest.digest else None
