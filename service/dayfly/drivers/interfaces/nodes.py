"""A cluster's nodes: their virtual machines, and access by SSH."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dayfly.clock import Clock
from dayfly.domain.cluster.fencing import Fence
from dayfly.domain.cluster.model import MachineMemory
from dayfly.drivers.interfaces.container_engine import File


@dataclass(frozen=True)
class CommandResult:
    """How a command on a node ended. Text is UTF-8, undecodable bytes replaced."""

    exit_code: int
    stdout: str
    stderr: str


Ram = Literal["shared", "whole"]
"""How a machine's RAM is saved: `shared`, as a file that forks map; `whole`, within its state, to be read once."""


class Machines(Protocol):
    """Machines in running node containers: QEMU's control protocol, and the agent in the guest.

    Every method raises VmExited where QEMU is gone or silent, ContainerExited where the container does not run,
    CommandFailed where QEMU or the agent refuses.
    """

    async def status(self, container: str) -> str:
        """`running`, `paused`, `inmigrate`, `postmigrate`, `prelaunch`, … as QEMU names it."""
        ...

    async def pause(self, container: str) -> None:
        """Let the machine stand still: no CPU, and its time stands, too."""
        ...

    async def resume(self, container: str) -> None:
        """Let it go on, also after save() and load(). Its wall clock is late by the time it stood still."""
        ...

    async def save(self, container: str, folder: str, *, ram: Ram, disk: bool, fence: Fence, timeout: float) -> int:
        """Save the machine into `folder`, whole or not at all, on stable storage; bytes on disk.

        One that was there is replaced. It stands still afterwards. `disk`: its overlay, too. A machine that ran just
        before is saved as one that runs, but load() leaves all machines standing still. Raises LeaseLost where `fence`
        holds.
        """
        ...

    async def saved(self, container: str, folder: str) -> bool:
        """Whether `folder` has a machine, whole."""
        ...

    async def discard(self, container: str, folder: str, *, fence: Fence) -> None:
        """Remove a folder of saved machines, with all that is in it. No error when there is none.

        Raises LeaseLost where `fence` holds.
        """
        ...

    async def load(
        self,
        container: str,
        folder: str,
        *,
        ram: Ram,
        timeout: float,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Load a machine that was started by qemu.fork or qemu.restore. It stands still afterwards.

        With `then`, which may take longer than `timeout`, it goes on as soon as that has ended: as with resume(), but
        sooner. Nobody else talks with its QEMU meanwhile.
        """
        ...

    async def set_clock(self, container: str, clock: Clock, *, timeout: float) -> None:
        """Set the guest's clock by `clock`, to within half a second. Raises SshTimeout where no agent answers."""
        ...

    async def run(
        self, container: str, argv: Sequence[str], *, stdin: bytes = b"", clock: Clock | None = None, timeout: float
    ) -> CommandResult:
        """Run `argv` in the guest by its agent, to its end. Raises SshTimeout where no agent answers in time.

        With `clock` it is to set the guest's, too: it gets one more argument, how many seconds to add. Raises as
        set_clock(), if that is wrong afterwards.
        """
        ...

    async def read(self, container: str, path: str, *, timeout: float) -> str:
        """A small text file of the guest, without a process in it. Raises CommandFailed where there is none,
        SshTimeout where no agent answers in time.
        """
        ...

    async def memory(self, container: str) -> MachineMemory:
        """What the machine has of the host's memory."""
        ...


@dataclass(frozen=True)
class SshTarget:
    """One node's SSH: where, with which key, and which host key it must show. Keys in OpenSSH's text form."""

    host: str
    port: int
    private_key: str = field(repr=False)
    host_public_key: str
    username: str = "root"


class Ssh(Protocol):
    """Commands and files on nodes. One connection a target is kept and shared; a broken one is made again."""

    async def wait(self, target: SshTarget, *, timeout: float) -> None:
        """Until the node answers and has let us in. Raises SshTimeout or SshRefused."""
        ...

    async def run(
        self,
        target: SshTarget,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Run `command` in the node's shell, to its end, whatever its exit code. Raises SshTimeout.

        `on_line` sees each line of stdout and stderr as it comes.
        """
        ...

    async def put(self, target: SshTarget, files: Sequence[File], *, timeout: float) -> None:
        """Write all `files`, making folders (mode 0755) where they are missing. Raises SshTimeout, CommandFailed."""
        ...

    async def forget(self, target: SshTarget) -> None:
        """Close the kept connection."""
        ...

    async def close(self) -> None: ...
