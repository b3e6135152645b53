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
    """A container on the host's network that lasts no longer than its program, and its program no longer than we.

    The program's standard input ends when the caller goes away, however that happens.
    """

    image: str
    command: Sequence[str]
    capabilities: Sequence[str]
    files: Sequence[File] = field(default=(), repr=False)
    """Put there before the program starts."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folders: Sequence[Path] = ()
    """Folders of the host, read-only under the same path."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """A volume's name → where it is mounted. Volumes that are not there are made, and stay."""
    engine_socket: str | None = None
    """Where the engine's own socket is mounted."""
    mounts_file_systems: bool = False
    """The program mounts: AppArmor's profile for containers, which denies it, is not used."""
    grace_seconds: float = 0.0
    """How long the program may clean up when the caller leaves early."""


@dataclass(frozen=True)
class OutputLine:
    stream: Literal["stdout", "stderr"]
    text: str


class ToolRun(Protocol):
    """A program that runs in a ToolContainer."""

    def lines(self) -> AsyncIterator[OutputLine]:
        """What it prints, until it ends or the engine goes away."""
        ...

    async def exit_code(self) -> int | None:
        """Waits for its end; None where the engine has forgotten it. Raises EngineUnavailable."""
        ...

    async def commit(self, reference: str, *, labels: Mapping[str, str]) -> str:
        """Make an image `reference` of the container as it is now, with its environment; the image's content id."""
        ...


class ToolRunner(Protocol):
    """Runs ToolContainers on the engine of this host."""

    def run(self, tool: ToolContainer) -> AbstractAsyncContextManager[ToolRun]:
        """The container exists no longer than the block.

        Raises BakeFailed where the engine is on another host or without root, ImageMissing, EngineUnavailable.
        """
        ...
