"""The boot source of a cluster's machines (image, template, checkpoint, hibernation), and where its files lie. Pure.

Not here: how machines are saved and restored (drivers/qemu/vm.py), and when (controllers/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dayfly.domain.cluster.fencing import Fence

Kind = Literal["image", "template", "checkpoint", "hibernation"]

SAVED_DIR: Final = "/saved"
"""In the containers of a cluster: its own volume (naming.saved_volume)."""
TEMPLATE_DIR: Final = "/template"
"""In the node containers of a template's forks, read-only, and of the cluster that becomes one: its volume."""


@dataclass(frozen=True)
class BootSource:
    """`image`: a boot of blank disks. `template`: a fork. `checkpoint`: back to one, by its name. `hibernation`."""

    kind: Kind
    name: str = ""

    @property
    def keeps_disks(self) -> bool:
        """Whether the machines go on with the disks that they have."""
        return self.kind == "hibernation"

    @property
    def folder(self) -> str:
        """Where what was saved lies, inside containers; below it a folder for each node, and one for the registry."""
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
        """Around the volume of `folder`, for the claim of that number."""
        return Fence(f"{TEMPLATE_DIR if self.kind == 'template' else SAVED_DIR}/.fence", number)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @staticmethod
    def parse(text: str) -> BootSource:
        """Of what str() gave. Raises ValueError."""
        kind, _, name = text.partition(":")
        if kind not in {"image", "template", "checkpoint", "hibernation"}:
            raise ValueError(f"{text!r} is no origin")
        return BootSource(kind, name)  # type: ignore[arg-type]


IMAGE: Final = BootSource("image")
TEMPLATE: Final = BootSource("template")
HIBERNATION: Final = BootSource("hibernation")
