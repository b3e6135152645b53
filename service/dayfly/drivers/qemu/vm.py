"""Virtual machines in node containers, over QMP and the guest's agent (interfaces.Machines).

The folder of a saved machine is written under another name and renamed, so that a folder is always complete. Not here:
when machines are saved, and from what they start (domain/cluster/qemu_cmdline.py).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from dayfly.clock import Clock, SystemClock
from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.fencing import PASS, REFUSED, Fence
from dayfly.domain.cluster.model import MachineMemory
from dayfly.drivers.interfaces import CommandResult, ContainerEngine, Ram
from dayfly.drivers.qemu.guest_agent import GuestAgent, guest_agent
from dayfly.drivers.qemu.qmp import Qmp, qmp
from dayfly.errors import CommandFailed, DayflyError, DiskFull, LeaseLost, SavedElsewhere, SshTimeout

_CAPABILITIES: Final[Mapping[Ram, str]] = {"shared": "x-ignore-shared", "whole": "mapped-ram"}
"""`shared`: RAM that lies in a file of its own is left out. `whole`: RAM within the state, each page at its place."""
_MOVING: Final = frozenset({"setup", "active", "pre-switchover", "device", "wait-unplug", "cancelling"})
"""How a migration stands, as QEMU names it, that is under way."""
_SAVED: Final = "postmigrate"
"""What a machine is, as QEMU names it, from when its state was saved until it goes on."""
_POLL_SECONDS: Final = 0.01
_SHORT_SECONDS: Final = 30.0
_CLOCK_TOLERANCE_SECONDS: Final = 0.5
_CLOCK_TRIES: Final = 5

# Arguments of all: the folder, and the one in which it is made; each attempt has another, for one that was given up may
# still be copying. It does so outside of the fence: what it copied counts when it is renamed.
_PREPARE: Final = f'{PASS}rm -rf "$1".new-* "$1.old" && mkdir -p "$2"'
# Further: RAM file and overlay; either may be empty.
_COPY: Final = f"""
set -eu
[ -z "$3" ] || cp --sparse=always "$3" "$2/{qemu_cmdline.RAM}"
[ -z "$4" ] || cp --sparse=always "$4" "$2/{qemu_cmdline.DISK}"
sync "$2"/* "$2"
"""
# Renamed before it is removed: half a folder must not be taken for a whole one.
_RENAME: Final = f"""{PASS}
[ ! -e "$1" ] || mv "$1" "$1.old"
mv "$2" "$1"
sync "${{1%/*}}"
rm -rf "$1.old"
du --summarize --block-size=1 "$1"
"""
# Whatever the state is called (qemu.state_name).
_SAVED_THERE: Final = f"""for one in "$1/{qemu_cmdline.STATE}"*; do [ ! -e "$one" ] || exit 0; done; exit 1"""
_DISCARD: Final = f"""{PASS}
rm -rf "$1".new-* "$1.old"
[ ! -e "$1" ] || {{ mv "$1" "$1.old" && rm -rf "$1.old"; }}
"""
_ROLLUP: Final = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)


class QemuMachines:
    """Machines in containers of `engine`. `processor` identifies the host's, as machines on KVM see it."""

    def __init__(self, engine: ContainerEngine, *, processor: str = "", clock: Clock | None = None) -> None:
        self._engine = engine
        self._processor = processor
        self._clock = clock or SystemClock()

    async def status(self, container: str) -> str:
        async with qmp(self._engine, container) as session:
            return await session.status()

    async def pause(self, container: str) -> None:
        async with qmp(self._engine, container) as session:
            await session.execute("stop")

    async def resume(self, container: str) -> None:
        async with qmp(self._engine, container) as session:
            if await session.status() == "inmigrate":
                # QEMU would only note it, and a machine that is loaded later would run at once.
                raise CommandFailed(f"{container}: no loaded machine can be resumed")
            try:
                async with asyncio.timeout(_SHORT_SECONDS):
                    await self._give_up_saving(session)
            except TimeoutError as error:
                raise CommandFailed(f"{container}: it does not stop being saved") from error
            await session.execute("cont")

    async def save(self, container: str, folder: str, *, ram: Ram, disk: bool, fence: Fence, timeout: float) -> int:
        draft = f"{folder}.new-{secrets.token_hex(4)}"
        try:
            async with asyncio.timeout(timeout):
                await self._shell(container, _PREPARE, *fence.arguments, folder, draft, timeout=timeout)
                ram_file = await self._save_state(container, draft, ram, timeout)
                overlay = qemu_cmdline.OVERLAY if disk else ""
                await self._shell(container, _COPY, folder, draft, ram_file, overlay, timeout=timeout)
                if (status := await self.status(container)) != _SAVED:
                    # By a worker that had lost its lease: memory and disk may be of two moments.
                    raise CommandFailed(f"{container}: another worker resumed it while it was saved: it is {status}")
            told = await self._shell(container, _RENAME, *fence.arguments, folder, draft, timeout=_SHORT_SECONDS)
        except TimeoutError as error:
            await self._clear(container, draft)
            raise CommandFailed(f"{container}: it was not saved within {timeout:g} s") from error
        except (DayflyError, asyncio.CancelledError):
            await self._clear(container, draft)
            raise
        return int(told.split()[0])

    async def saved(self, container: str, folder: str) -> bool:
        look = ["sh", "-c", _SAVED_THERE, "sh", folder]
        looked = await self._engine.exec(container, look, timeout=_SHORT_SECONDS)
        if looked.exit_code not in {0, 1}:
            # Killed with its container, for one: what is saved is not to be given up for that.
            raise CommandFailed(f"{container}: cannot look for {folder}: exit code {looked.exit_code}")
        return looked.exit_code == 0

    async def discard(self, container: str, folder: str, *, fence: Fence) -> None:
        await self._shell(container, _DISCARD, *fence.arguments, folder, timeout=_SHORT_SECONDS)

    async def load(
        self,
        container: str,
        folder: str,
        *,
        ram: Ram,
        timeout: float,
        then: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        try:
            async with (
                asyncio.timeout(timeout) as limit,
                qmp(self._engine, container, timeout=timeout, starting=True) as session,
            ):
                if await self._migration(session) not in _MOVING:  # else somebody began, and died
                    await self._choose(session, ram)
                    await self._begin_loading(session, container, folder)
                await self._migrated(session, container)
                if then is not None:
                    limit.reschedule(None)
                    await then()
                    # In this session: another would cost a tenth of a second.
                    await session.execute("cont")
        except TimeoutError as error:
            raise CommandFailed(f"{container}: {folder} was not loaded within {timeout:g} s") from error

    async def set_clock(self, container: str, clock: Clock, *, timeout: float) -> None:
        async with guest_agent(self._engine, container, timeout=timeout) as agent:
            await self._set_clock(agent, container, clock)

    async def run(
        self, container: str, argv: Sequence[str], *, stdin: bytes = b"", clock: Clock | None = None, timeout: float
    ) -> CommandResult:
        async with guest_agent(self._engine, container, timeout=timeout) as agent:
            if clock is None:
                return await agent.run(argv, stdin, self._clock)
            late = -await self._clock_error(agent, clock)
            result = await agent.run([*argv, f"{late:.6f}"], stdin, self._clock)
            if result.exit_code == 0:
                await self._set_clock(agent, container, clock)
            return result

    async def read(self, container: str, path: str, *, timeout: float) -> str:
        async with guest_agent(self._engine, container, timeout=timeout) as agent:
            return (await agent.read(path)).decode(errors="replace")

    async def memory(self, container: str) -> MachineMemory:
        # QEMU is the container's first process.
        text = await self._shell(container, "cat /proc/1/smaps_rollup", timeout=_SHORT_SECONDS)
        kib = {name: int(size) for name, size in _ROLLUP.findall(text)}
        try:
            shared, private = ((kib[f"{kind}_Clean"] + kib[f"{kind}_Dirty"]) << 10 for kind in ("Shared", "Private"))
            return MachineMemory(shared, private, kib["Pss"] << 10)
        except KeyError as error:
            raise CommandFailed(f"{container}: the kernel's accounting has no {error}") from error

    async def _save_state(self, container: str, draft: str, ram: Ram, timeout: float) -> str:
        """The machine stands still, its state lies in `draft`; the file with its RAM, where that is not in it."""
        async with qmp(self._engine, container, timeout=timeout) as session:
            ram_file = await self._ram_file(session, container) if ram == "shared" else ""
            await self._give_up_saving(session)
            if await session.status() == _SAVED:
                # Saved before, by somebody who died: such a machine has to go on before it can be saved again.
                await session.execute("cont")
                await session.execute("stop")
            await self._choose(session, ram)
            await session.execute("migrate", {"uri": f"file:{draft}/{await self._state_name(session)}"})
            await self._migrated(session, container)
        return ram_file

    async def _begin_loading(self, session: Qmp, container: str, folder: str) -> None:
        """Raises SavedElsewhere where `folder` has a state, but none for this host."""
        name = await self._state_name(session)
        try:
            await session.execute("migrate-incoming", {"uri": f"file:{folder}/{name}", "exit-on-error": False})
        except CommandFailed as error:
            # Looked for only now: before each load it would cost a tenth of a second.
            fits = await self._engine.exec(container, ["test", "-e", f"{folder}/{name}"], timeout=_SHORT_SECONDS)
            if fits.exit_code == 1 and await self.saved(container, folder):
                raise SavedElsewhere(
                    f"{container}: it was saved with another accelerator, processor, microcode or kernel of the host"
                ) from error
            raise

    async def _state_name(self, session: Qmp) -> str:
        told = await session.execute("query-kvm")
        on_kvm = isinstance(told, Mapping) and told.get("enabled") is True
        return qemu_cmdline.state_name("kvm" if on_kvm else "tcg", self._processor)

    async def _ram_file(self, session: Qmp, container: str) -> str:
        """Where the machine's RAM is a file that others can map."""
        asked = [{"path": "/objects/ram0", "property": name} for name in ("share", "mem-path")]
        shared, path = [await session.execute("qom-get", one) for one in asked]
        if shared is not True:
            raise CommandFailed(f"{container}: a fork's memory cannot be shared again: it is partly its template's")
        return str(path)

    async def _choose(self, session: Qmp, ram: Ram) -> None:
        """How the next migration treats the RAM: both ends must agree."""
        chosen = [{"capability": name, "state": kind == ram} for kind, name in _CAPABILITIES.items()]
        await session.execute("migrate-set-capabilities", {"capabilities": chosen})

    async def _give_up_saving(self, session: Qmp) -> None:
        """What somebody began who died must not end later: a machine that is saved stands still then."""
        if await self._migration(session) in _MOVING:
            await session.execute("migrate_cancel")
            while await self._migration(session) in _MOVING:
                await self._clock.sleep(_POLL_SECONDS)

    async def _migration(self, session: Qmp) -> str:
        """How the last migration stands, as QEMU names it; "" when there was none."""
        told = await session.execute("query-migrate")
        return str(told.get("status", "")) if isinstance(told, Mapping) else ""

    async def _migrated(self, session: Qmp, container: str) -> None:
        """Until the migration that was begun is completed. Raises CommandFailed, DiskFull."""
        while True:
            told = await session.execute("query-migrate")
            status = told.get("status") if isinstance(told, Mapping) else None
            if status == "completed":
                return
            if status in {"failed", "cancelled", "none"} or not isinstance(told, Mapping):
                why = str(told.get("error-desc", status)) if isinstance(told, Mapping) else repr(told)
                raise _failure(f"{container}: QEMU's state was not moved: {why}")
            await self._clock.sleep(_POLL_SECONDS)

    async def _set_clock(self, agent: GuestAgent, container: str, clock: Clock) -> None:
        """Unless it is right. Raises as set_clock()."""
        error = await self._clock_error(agent, clock)
        for _ in range(_CLOCK_TRIES):
            if abs(error) <= _CLOCK_TOLERANCE_SECONDS:
                return
            # By how much, not to what: however long it takes to get there, it is right. By `date`: the agent's own
            # command wants a hardware clock's tool, and waits for its next full second.
            result = await agent.run(["/bin/date", "--set", f"{-error:.6f} seconds"], b"", self._clock)
            if result.exit_code != 0:
                raise CommandFailed(f"{container}: the guest's clock cannot be set: {result.stderr.strip()}")
            error = await self._clock_error(agent, clock)
        raise SshTimeout(f"{container}: after {_CLOCK_TRIES} tries the guest's clock is wrong by {error:.1f} s")

    async def _clock_error(self, agent: GuestAgent, clock: Clock) -> float:
        """How much the guest's clock is ahead, in seconds."""
        before = clock.now().timestamp()
        told = await agent.execute("guest-get-time")
        middle = (before + clock.now().timestamp()) / 2
        return int(str(told)) / 1e9 - middle

    async def _shell(self, container: str, script: str, *arguments: str, timeout: float) -> str:
        argv = ["sh", "-c", script, "sh", *arguments]
        ended = await self._engine.exec(container, argv, timeout=timeout)
        if ended.exit_code == REFUSED:
            raise LeaseLost(f"{container}: what is saved there is another claim's by now")
        if ended.exit_code != 0:
            raise _failure(f"{container}: {ended.stderr.decode(errors='replace').strip()}")
        return ended.stdout.decode()

    async def _clear(self, container: str, draft: str) -> None:
        """What a save that failed left."""
        with suppress(DayflyError):
            # In a container that is gone; otherwise the next save begins with the same.
            await self._shell(container, 'rm -rf "$1"', draft, timeout=_SHORT_SECONDS)


def _failure(message: str) -> DayflyError:
    return DiskFull(message) if "No space left on device" in message else CommandFailed(message)
