"""Ssh in memory: nodes that answer, refuse or stay silent, and commands with results that a test has written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dayfly.drivers.interfaces import CommandResult, File, SshTarget
from dayfly.errors import SshRefused, SshTimeout
from dayfly.testing.fake_faults import Faults

Script = CommandResult | Callable[[SshTarget, str, bytes], CommandResult]


class FakeSsh(Faults):
    """Nodes are told apart by the port they are reached at. A time-out takes no time: it is raised at once."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[tuple[int, str]] = []
        """(port, command) of every command that was run, in order."""
        self.files: dict[int, dict[str, File]] = {}
        """port → path → file, of everything that was put."""
        self.forgotten: list[int] = []
        self._silent: set[int | None] = set()
        self._refusing: set[int | None] = set()
        self._scripts: list[tuple[str, Script]] = []

    def never_answers(self, port: int | None = None) -> None:
        """The node at `port` (None: every node) stays silent."""
        self._silent.add(port)

    def refuses(self, port: int | None = None) -> None:
        """The node at `port` (None: every node) shows another host key."""
        self._refusing.add(port)

    def answers(self) -> None:
        """Every node answers again."""
        self._silent.clear()
        self._refusing.clear()

    def on(self, part: str, result: Script) -> None:
        """Commands that contain `part` end so; what was said last counts. Others end well and print nothing."""
        self._scripts.insert(0, (part, result))

    def ran(self, part: str) -> list[int]:
        """The ports of the nodes that ran a command containing `part`, in order."""
        return [port for port, command in self.commands if part in command]

    async def wait(self, target: SshTarget, *, timeout: float) -> None:
        await self._reach("wait", target, timeout)

    async def run(
        self,
        target: SshTarget,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        await self._reach("run", target, timeout)
        self.commands.append((target.port, command))
        script = next((result for part, result in self._scripts if part in command), CommandResult(0, "", ""))
        ended = script if isinstance(script, CommandResult) else script(target, command, stdin)
        if on_line is not None:
            for line in (*ended.stdout.splitlines(), *ended.stderr.splitlines()):
                on_line(line)
        return ended

    async def put(self, target: SshTarget, files: Sequence[File], *, timeout: float) -> None:
        await self._reach("put", target, timeout)
        self.files.setdefault(target.port, {}).update({file.path: file for file in files})

    async def forget(self, target: SshTarget) -> None:
        await self._enter("forget")
        self.forgotten.append(target.port)

    async def close(self) -> None:
        await self._enter("close")

    async def _reach(self, method: str, target: SshTarget, timeout: float) -> None:
        await self._enter(method)
        where = str(target)
        if not self._silent.isdisjoint({None, target.port}):
            raise SshTimeout(f"{where} did not answer within {timeout:g} s")
        if not self._refusing.isdisjoint({None, target.port}):
            raise SshRefused(f"{where}: Host key is not trusted")
