"""Machines in memory: those of a FakeEngine's node containers, with what they remember and what was saved of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from dayfly.clock import Clock
from dayfly.domain.cluster.fencing import Fence
from dayfly.domain.cluster.model import MachineMemory
from dayfly.drivers.interfaces import CommandResult, Ram
from dayfly.errors import CommandFailed, ContainerExited, EngineUnavailable, LeaseLost, SshTimeout
from dayfly.testing.fake_container import FakeContainer
from dayfly.testing.fake_engine import FakeEngine
from dayfly.testing.fake_faults import Faults

_SAVED_BYTES = 1 << 20


@dataclass(frozen=True)
class SavedMachine:
    """What lies in a folder of a volume: the machine's memory and disk, as marks that tests compare."""

    memory: str
    disk: str | None
    ram: Ram
    identity: str
    quiesced: bool
    moves: int
    """How often the machine had gone on when it was saved: since then its disk may have moved on."""


class FakeMachines(Faults):
    """Machines of `engine`.

    A container's `memory` and `disk` are marks: a boot makes a new memory, a blank overlay a new disk, and load() gives
    back what save() found.
    """

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__()
        self._engine = engine
        self.ran: list[tuple[str, tuple[str, ...]]] = []
        """(container, argv) of everything that was run in guests."""
        self._guest: Callable[[str, Sequence[str], bytes], CommandResult] | None = None
        self._file: Callable[[str, str], str] | None = None
        self.torn: list[str] = []
        """Machines that were given a memory which their disk does not go with any more: that must never happen."""
        self._silent: set[str] = set()
        self._busy = 0

    def on_run(self, guest: Callable[[str, Sequence[str], bytes], CommandResult]) -> None:
        """What run() does from now on (until then: what guests do that are well)."""
        self._guest = guest

    def on_read(self, file: Callable[[str, str], str]) -> None:
        """What read() finds from now on."""
        self._file = file

    def busy_for(self, looks: int) -> None:
        """Guests say that they are busy, ever less so, the next so many times that they are asked."""
        self._busy = looks + 1

    def agent_silent(self, *containers: str) -> None:
        """These guests' agents answer no more."""
        self._silent.update(containers)

    async def status(self, container: str) -> str:
        return (await self._at("status", container)).vm_status

    async def pause(self, container: str) -> None:
        found = await self._at("pause", container)
        found.vm_status, found.clock = "paused", None

    async def resume(self, container: str) -> None:
        found = await self._at("resume", container)
        if found.vm_status == "inmigrate":
            raise CommandFailed(f"{container}: QEMU refused cont: nothing was loaded yet")
        found.vm_status = "running"
        found.moves += 1

    async def save(
        self,
        container: str,
        folder: str,
        *,
        ram: Ram,
        disk: bool,
        fence: Fence,
        timeout: float,
    ) -> int:
        found = await self._at("save", container)
        files = self._behind(fence, found, folder)
        kept = found.disk if disk else None
        files[folder] = SavedMachine(found.memory, kept, ram, found.identity, found.quiesced, found.moves)
        found.vm_status, found.clock = "postmigrate", None
        return _SAVED_BYTES

    async def size_so_far(self, container: str, folder: str) -> int:
        found = await self._at("size_so_far", container)
        return _SAVED_BYTES if folder in self._engine.files_of(found, folder) else _SAVED_BYTES >> 2

    async def saved(self, container: str, folder: str) -> bool:
        return folder in self._engine.files_of(await self._at("saved", container), folder)

    async def discard(self, container: str, folder: str, *, fence: Fence) -> None:
        found = await self._at("discard", container)
        files = self._behind(fence, found, folder)
        for path in [path for path in files if path == folder or path.startswith(f"{folder}/")]:
            del files[path]

    async def load(
        self,
        container: str,
        folder: str,
        *,
        ram: Ram,
        timeout: float,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        found = await self._at("load", container)
        saved = self._engine.files_of(found, folder).get(folder)
        if found.vm_status != "inmigrate" or not isinstance(saved, SavedMachine) or saved.ram != ram:
            raise CommandFailed(f"{container}: QEMU refused migrate-incoming: {found.vm_status}, {folder}: {saved}")
        if saved.disk is None and saved.moves != found.moves:
            self.torn.append(container)
        found.memory, found.identity, found.quiesced = saved.memory, saved.identity, saved.quiesced
        found.vm_status = "paused"
        found.disk = found.disk if saved.disk is None else saved.disk
        if then is not None:
            await then()
            await self.resume(container)

    async def set_clock(self, container: str, clock: Clock, *, timeout: float) -> None:
        found = await self._at("set_clock", container)
        self._agent(found, timeout)
        found.clock, found.clock_set_at = clock, clock.now()

    async def run(
        self, container: str, argv: Sequence[str], *, stdin: bytes = b"", clock: Clock | None = None, timeout: float
    ) -> CommandResult:
        found = await self._at("run", container)
        self._agent(found, timeout)
        if clock is not None:
            found.clock, found.clock_set_at = clock, clock.now()
            argv = [*argv, "0.0"]
        self.ran.append((container, tuple(argv)))
        return self._answer(found, argv) if self._guest is None else self._guest(container, argv, stdin)

    async def read(self, container: str, path: str, *, timeout: float) -> str:
        found = await self._at("read", container)
        self._agent(found, timeout)
        if self._file is not None:
            return self._file(container, path)
        if path == "/proc/loadavg":
            self._busy = max(0, self._busy - 1)
            return f"{2.0**self._busy - 0.9:.2f} 0.30 0.20 1/120 4711\n"
        if path.endswith("/boot_id"):
            return "\n"  # as FakeSsh says
        if not found.identity:
            raise CommandFailed(f"{container}: there is no {path}")
        return f"{found.identity}\n"

    async def memory(self, container: str) -> MachineMemory:
        await self._at("memory", container)
        return MachineMemory(shared_bytes=100 << 20, private_bytes=30 << 20, proportional_bytes=50 << 20)

    def _behind(self, fence: Fence, found: FakeContainer, folder: str) -> dict[str, object]:
        files = self._engine.files_of(found, folder, write=True)
        if int(str(files.get(fence.path, 0))) > fence.number:
            raise LeaseLost(f"{found.spec.name}: what is saved there is another claim's by now")
        files[fence.path] = fence.number
        return files

    def _answer(self, found: FakeContainer, argv: Sequence[str]) -> CommandResult:
        """What the guests' programs say that steps run."""
        match list(argv):
            case ["/bin/date", "+%s"]:
                now = 0.0 if found.clock is None else found.clock.now().timestamp()
                return CommandResult(0, f"{now:.0f}\n", "")
            case ["/usr/bin/perl", "-e", _, _]:
                found.quiesced = True
            case ["/usr/bin/perl", "-e", _, _, _, cluster_id, _]:
                found.identity, found.quiesced = cluster_id, False
        return CommandResult(0, "", "")

    def _agent(self, found: FakeContainer, timeout: float) -> None:
        if found.vm_status != "running" or found.spec.name in self._silent:
            raise SshTimeout(f"{found.spec.name}: the guest's agent did not answer within {timeout:g} s")

    async def _at(self, method: str, container: str) -> FakeContainer:
        await self._enter(method)
        if self._engine.is_down:
            raise EngineUnavailable(f"{method}: Cannot connect to Docker Engine")
        found = self._engine.containers.get(container)
        if found is None or found.state != "running":
            raise ContainerExited(f"{container} is not running")
        return found
