"""The boot source of a cluster's machines (image, template, checkpoint, hibernation), and its folder. Pure.

Not here: how machines are saved and restored (drivers/qemu/vm.py), and when (controllers/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dayfly.domain.cluster.fencing import Fence

Kind = Literal["image", "template", "checkpoint", "hibernation"]

SAVED_DIR: Final = "/saved"
"""The mount point of a cluster's own volume (naming.saved_volume)."""
TEMPLATE_DIR: Final = "/template"
"""The mount point of a template's volume in node containers: read-only in forks, writable in the template's builder."""


@dataclass(frozen=True)
class BootSource:
    """`image`: boot with blank disks. `template`: fork. `checkpoint`: reset to `name`. `hibernation`: wake up."""

    kind: Kind
    name: str = ""

    @property
    def keeps_disks(self) -> bool:
        """Whether the machines keep their present disks."""
        return self.kind == "hibernation"

    @property
    def folder(self) -> str:
        """The snapshot's folder inside containers, with a folder for each node, and one for the registry."""
        match self.kind:
            case "template":
                return TEMPLATE_DIR
            case "checkpoint":
                return f"{SAVED_DIR}/checkpoints/{self.name}"
            case "hibernation":
                return f"{SAVED_DIR}/hibernation"
            case "image":
                raise ValueError("an image is not a saved state")

    def fence(self, number: int) -> Fence:
        """The fence of the volume of `folder`, for the claim of that number."""
        return Fence(f"{TEMPLATE_DIR if self.kind == 'template' else SAVED_DIR}/.fence", number)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @staticmethod
    def parse(text: str) -> BootSource:
        """The inverse of str(). Raises ValueError."""
        kind, _, name = text.partition(":")
        if kind not in {"image", "template", "checkpoint", "hibernation"}:
            raise ValueError(f"{text!r} is not a boot source")
        return BootSource(kind, name)  # type: ignore[arg-type]


IMAGE: Final = BootSource("image")
TEMPLATE: Final = BootSource("template")
HIBERNATION: Final = BootSource("hibernation")
