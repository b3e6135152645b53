"""Objects on the container engine, and those among them that are orphans. Not here: how orphans are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

KINDS: Final = ("container", "network", "volume")
"""In the order of their removal."""


@dataclass(frozen=True)
class EngineResource:
    """Something on the engine that carries this installation's label: enough to tell whose it is, and to remove it.

    `id` is the engine's own. `cluster_id` is "" where that label is missing; `template_id` is that of a template's
    volume. `running` is only true of containers. `labelled`: False for a volume without any label of Dayfly's, as
    versions before 0.3 left them on Podman; then the ids are read from its name, and only records can confirm them.
    """

    kind: Literal["container", "volume", "network"]
    id: str
    name: str
    cluster_id: str
    running: bool = False
    template_id: str = ""
    labelled: bool = True


@dataclass(frozen=True)
class Orphan:
    """An object that no living cluster or template owns, and how that is known.

    `on_record`: whether the database knows of the cluster, or the template, that it was of. `error`: why it could not
    be removed.
    """

    resource: EngineResource
    why: str
    on_record: bool
    error: str | None = None

    @property
    def position(self) -> tuple[int, str, str]:
        """In a list: containers first, because they may use the others."""
        return KINDS.index(self.resource.kind), self.resource.name, self.resource.id
