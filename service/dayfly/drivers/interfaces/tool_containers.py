"""Containers that run one program for a connected caller: a bake without root runs in one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from dayfly.drivers.interfaces.container_engine import File


@dataclass(frozen=True)
class ToolContainer:
    """A container on the host's network that is removed when its program ends.

    The program's standard input ends when the caller goes away, however that happens.
    """

    image: str
    command: Sequence[str]
    capabilities: Sequence[str]
    files: Sequence[File] = field(default=(), repr=False)
    """Written before the program starts."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Sequence[Path] = ()
    """Folders of the host, read-only under the same path."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """A volume's name → its mount point. Missing volumes are created; all volumes are kept."""
    engine_socket: str | None = None
    """The mount point of the engine's own socket."""
    mounts_file_systems: bool = False
    """The program mounts file systems: AppArmor's container profile, which denies that, is off."""
    grace_seconds: float = 0.0
    """How long the program may clean up when the caller leaves early."""


@dataclass(frozen=True)
class OutputLine:
    stream: Literal["stdout", "stderr"]
    text: str


class ToolRun(Protocol):
    """A program that runs in a ToolContainer."""

    def lines(self) -> AsyncIterator[OutputLine]:
        """The program's output, until the program ends or the engine goes away."""

    async def exit_code(self) -> int | None:
        """Wait for the program's end; None when the container is removed already. Raises EngineUnavailable."""

    async def commit(self, reference: str, *, labels: Mapping[str, str]) -> str:
        """Create image `reference` from the container's current files and environment; the image's content id."""


class ToolRunner(Protocol):
    """Runs ToolContainers on the engine of this host."""

    def run(self, tool: ToolContainer) -> AbstractAsyncContextManager[ToolRun]:
        """The container is removed at the end of the block.

        Raises BakeFailed when the engine is on another host or rootless, ImageMissing, EngineUnavailable.
        """
