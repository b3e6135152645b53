"""A cluster's nodes: their virtual machines, and access by SSH."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dayfly.clock import Clock
from dayfly.domain.cluster.fencing import Fence
from dayfly.domain.cluster.model import Endpoint, MachineMemory
from dayfly.drivers.interfaces.container_engine import File


@dataclass(frozen=True)
class CommandResult:
    """The exit code and output of a command on a node. UTF-8, undecodable bytes replaced."""

    exit_code: int
    stdout: str
    stderr: str


Ram = Literal["shared", "whole"]
"""How a machine's RAM is saved: `shared`, as a file that forks map; `whole`, within the state, to be read once."""


class Machines(Protocol):
    """Machines in running node containers, over QMP and the guest agent.

    Every method raises VmExited when QEMU is gone or silent, ContainerExited when the container does not run,
    CommandFailed when QEMU or the agent refuses.
    """

    async def status(self, container: str) -> str:
        """`running`, `paused`, `inmigrate`, `postmigrate`, `prelaunch`, … as QEMU names it."""

    async def pause(self, container: str) -> None:
        """Stop the machine's CPUs and its clock."""

    async def resume(self, container: str) -> None:
        """Resume the machine, also after save() and load(). Its wall clock lags by the length of the pause."""

    async def save(self, container: str, folder: str, *, ram: Ram, disk: bool, fence: Fence, timeout: float) -> int:
        """Save the machine into `folder`, atomically, on stable storage; bytes on disk.

        Replaces an earlier snapshot, and leaves the machine paused. `disk`: save its overlay, too. QEMU records whether
        the machine was running, but load() leaves every machine paused. Raises LeaseLost when `fence` refuses.
        """

    async def size_so_far(self, container: str, folder: str) -> int:
        """Bytes on disk of the snapshot in `folder`, also while save() writes it; 0 before."""
        ...

    async def saved(self, container: str, folder: str) -> bool:
        """Whether `folder` has a snapshot."""

    async def discard(self, container: str, folder: str, *, fence: Fence) -> None:
        """Remove a folder of snapshots. No error when it does not exist. Raises LeaseLost when `fence` refuses."""

    async def load(
        self,
        container: str,
        folder: str,
        *,
        ram: Ram,
        timeout: float,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Load a machine that QEMU started with the command line of a fork or a restore, and leave it paused.

        With `then`, which `timeout` does not limit: resume the machine after `then`, sooner than resume() would. The
        session with QEMU stays open meanwhile.
        """

    async def set_clock(self, container: str, clock: Clock, *, timeout: float) -> None:
        """Set the guest's clock to `clock`, within half a second. Raises SshTimeout when no agent answers."""

    async def run(
        self, container: str, argv: Sequence[str], *, stdin: bytes = b"", clock: Clock | None = None, timeout: float
    ) -> CommandResult:
        """Run `argv` in the guest through its agent, to completion. Raises SshTimeout when no agent answers in time.

        With `clock`, the command also sets the guest's clock: its last argument is the number of seconds to add.
        Raises as set_clock() when the clock is wrong afterwards.
        """

    async def read(self, container: str, path: str, *, timeout: float) -> str:
        """A small text file of the guest, read without a process. Raises CommandFailed when the file does not exist,
        SshTimeout when no agent answers in time.
        """

    async def memory(self, container: str) -> MachineMemory:
        """The host memory that the machine uses."""


@dataclass(frozen=True)
class SshTarget:
    """One node's SSH address, private key and pinned host key. Keys in OpenSSH's text form."""

    host: str
    port: int
    private_key: str = field(repr=False)
    host_public_key: str
    username: str = "root"

    def __str__(self) -> str:
        return f"{self.username}@{Endpoint(self.host, self.port)}"


class Ssh(Protocol):
    """Commands and files on nodes. Callers share one connection per target; a broken connection is replaced."""

    async def wait(self, target: SshTarget, *, timeout: float) -> None:
        """Wait until a command runs on the node. Raises SshTimeout or SshRefused."""

    async def run(
        self,
        target: SshTarget,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Run `command` in the node's shell to completion, whatever its exit code. Raises SshTimeout.

        `on_line` receives each line of stdout and stderr as it arrives.
        """

    async def put(self, target: SshTarget, files: Sequence[File], *, timeout: float) -> None:
        """Write `files`; missing folders get mode 0755. Raises SshTimeout, CommandFailed."""

    async def forget(self, target: SshTarget) -> None:
        """Close the kept connection."""

    async def close(self) -> None: ...
