"""Virtual machines in node containers, over QMP and the guest agent (interfaces.Machines).

A snapshot folder is written under a temporary name and renamed, so that a folder is always complete. Not here: when
snapshots are made, and QEMU's command line (domain/cluster/qemu_cmdline.py).
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
"""`shared`: the state leaves out the RAM, which is a file. `whole`: the state has each page at a fixed offset."""
_MOVING: Final = frozenset({"setup", "active", "pre-switchover", "device", "wait-unplug", "cancelling"})
"""QEMU's names for the status of a running migration."""
_SAVED: Final = "postmigrate"
"""QEMU's name for the status of a machine whose state was saved, until it is resumed."""
_POLL_SECONDS: Final = 0.01
_SHORT_SECONDS: Final = 30.0
_CLOCK_TOLERANCE_SECONDS: Final = 0.5
_CLOCK_TRIES: Final = 5

# Arguments of each script: the folder, and its draft. Each attempt has a draft of its own, because an abandoned attempt
# may still be copying. The copy is not fenced: only the rename makes a draft the snapshot.
_PREPARE: Final = f'{PASS}rm -rf "$1".new-* "$1.old" && mkdir -p "$2"'
# Further arguments: RAM file and overlay; either may be empty.
_COPY: Final = f"""
set -eu
[ -z "$3" ] || cp --sparse=always "$3" "$2/{qemu_cmdline.RAM}"
[ -z "$4" ] || cp --sparse=always "$4" "$2/{qemu_cmdline.DISK}"
sync "$2"/* "$2"
"""
# Renamed before removal: a half-removed folder must not look complete.
_RENAME: Final = f"""{PASS}
[ ! -e "$1" ] || mv "$1" "$1.old"
mv "$2" "$1"
sync "${{1%/*}}"
rm -rf "$1.old"
du --summarize --block-size=1 "$1"
"""
# A state of any host (qemu_cmdline.state_name).
_SAVED_THERE: Final = f"""for one in "$1/{qemu_cmdline.STATE}"*; do [ ! -e "$one" ] || exit 0; done; exit 1"""
# A draft first: the folder beside it is of an earlier save.
_SIZE_SO_FAR: Final = """for one in "$1".new-* "$1"; do
    [ ! -e "$one" ] || exec du --summarize --block-size=1 "$one"
done
echo 0
"""
_DISCARD: Final = f"""{PASS}
rm -rf "$1".new-* "$1.old"
[ ! -e "$1" ] || {{ mv "$1" "$1.old" && rm -rf "$1.old"; }}
"""
_ROLLUP: Final = re.compile(r"^(\w+): +([0-9]{1,15}) kB$", re.MULTILINE)
_BYTES: Final = re.compile(r"[0-9]{1,18}\b")


class QemuMachines:
    """Machines in containers of `engine`. `processor` identifies the host's processor as KVM guests see it."""

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
                # QEMU would only note the command, and run the machine as soon as it is loaded.
                raise CommandFailed(f"{container}: a machine that is not loaded yet cannot be resumed")
            try:
                async with asyncio.timeout(_SHORT_SECONDS):
                    await self._give_up_saving(session)
            except TimeoutError as error:
                raise CommandFailed(f"{container}: QEMU does not cancel the running snapshot") from error
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
                    # A worker without its lease resumed the machine: memory and disk may not match.
                    raise CommandFailed(
                        f"{container}: another worker resumed the machine during its snapshot: it is {status}"
                    )
            usage = await self._shell(container, _RENAME, *fence.arguments, folder, draft, timeout=_SHORT_SECONDS)
        except TimeoutError as error:
            await self._clear(container, draft)
            raise CommandFailed(f"{container}: the snapshot was not complete within {timeout:g} s") from error
        except (DayflyError, asyncio.CancelledError):
            await self._clear(container, draft)
            raise
        return _size(container, folder, usage)

    async def size_so_far(self, container: str, folder: str) -> int:
        # Not `ram.transferred` of query-migrate: a template's memory and every disk are copied by _COPY.
        usage = await self._shell(container, _SIZE_SO_FAR, folder, timeout=_SHORT_SECONDS)
        return _size(container, folder, usage)

    async def saved(self, container: str, folder: str) -> bool:
        check = ["sh", "-c", _SAVED_THERE, "sh", folder]
        checked = await self._engine.exec(container, check, timeout=_SHORT_SECONDS)
        if checked.exit_code not in {0, 1}:
            # E.g. killed with its container, which does not prove that the snapshot is missing.
            raise CommandFailed(f"{container}: cannot check {folder}: exit code {checked.exit_code}")
        return checked.exit_code == 0

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
                if await self._migration(session) not in _MOVING:  # else a worker died after it began the load
                    await self._choose(session, ram)
                    await self._begin_loading(session, container, folder)
                await self._migrated(session, container)
                if then is not None:
                    limit.reschedule(None)
                    await then()
                    # In this session: a second session would cost a tenth of a second.
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
            delay = -await self._clock_error(agent, container, clock)
            result = await agent.run([*argv, f"{delay:.6f}"], stdin, self._clock)
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
        """Save the state into `draft`, which pauses the machine; its RAM file's path, "" when RAM is in the state."""
        async with qmp(self._engine, container, timeout=timeout) as session:
            ram_file = await self._ram_file(session, container) if ram == "shared" else ""
            await self._give_up_saving(session)
            if await session.status() == _SAVED:
                # A worker saved it and died: QEMU cannot save a machine again before it has been resumed.
                await session.execute("cont")
                await session.execute("stop")
            await self._choose(session, ram)
            await session.execute("migrate", {"uri": f"file:{draft}/{await self._state_name(session)}"})
            await self._migrated(session, container)
        return ram_file

    async def _begin_loading(self, session: Qmp, container: str, folder: str) -> None:
        """Raises SavedElsewhere when `folder` has a state, but none for this host."""
        name = await self._state_name(session)
        try:
            await session.execute("migrate-incoming", {"uri": f"file:{folder}/{name}", "exit-on-error": False})
        except CommandFailed as error:
            # Checked only after a failure: before each load the check would cost a tenth of a second.
            fits = await self._engine.exec(container, ["test", "-e", f"{folder}/{name}"], timeout=_SHORT_SECONDS)
            if fits.exit_code == 1 and await self.saved(container, folder):
                raise SavedElsewhere(
                    f"{container}: the snapshot is from another accelerator, processor, microcode or host kernel"
                ) from error
            raise

    async def _state_name(self, session: Qmp) -> str:
        answer = await session.execute("query-kvm")
        on_kvm = isinstance(answer, Mapping) and answer.get("enabled") is True
        return qemu_cmdline.state_name("kvm" if on_kvm else "tcg", self._processor)

    async def _ram_file(self, session: Qmp, container: str) -> str:
        """The path of the machine's RAM file, which forks can map."""
        queries = [{"path": "/objects/ram0", "property": name} for name in ("share", "mem-path")]
        shared, path = [await session.execute("qom-get", query) for query in queries]
        if shared is not True:
            raise CommandFailed(f"{container}: a fork's memory cannot be shared: part of it is its template's")
        if not isinstance(path, str):
            raise CommandFailed(f"{container}: QEMU does not name its RAM file")
        return path

    async def _choose(self, session: Qmp, ram: Ram) -> None:
        """Set how the next migration treats the RAM: both ends must agree."""
        chosen = [{"capability": name, "state": kind == ram} for kind, name in _CAPABILITIES.items()]
        await session.execute("migrate-set-capabilities", {"capabilities": chosen})

    async def _give_up_saving(self, session: Qmp) -> None:
        """Cancel the running snapshot of a dead worker: its end would pause the machine."""
        if await self._migration(session) in _MOVING:
            await session.execute("migrate_cancel")
            while await self._migration(session) in _MOVING:
                await self._clock.sleep(_POLL_SECONDS)

    async def _migration(self, session: Qmp) -> str:
        """QEMU's status of the last migration; "" when there was none."""
        return _text(await session.execute("query-migrate"), "status")

    async def _migrated(self, session: Qmp, container: str) -> None:
        """Wait until the running migration is completed. Raises CommandFailed, DiskFull."""
        while True:
            answer = await session.execute("query-migrate")
            status = _text(answer, "status")
            if status == "completed":
                return
            if status in {"failed", "cancelled", "none"} or not isinstance(answer, Mapping):
                reason = _text(answer, "error-desc") or status or "its answer is not an object"
                raise _failure(f"{container}: QEMU's migration failed: {reason}")
            await self._clock.sleep(_POLL_SECONDS)

    async def _set_clock(self, agent: GuestAgent, container: str, clock: Clock) -> None:
        """Set the guest's clock unless it is right. Raises as set_clock()."""
        error = await self._clock_error(agent, container, clock)
        for _ in range(_CLOCK_TRIES):
            if abs(error) <= _CLOCK_TOLERANCE_SECONDS:
                return
            # A relative change is right however long the call takes. With `date`: the agent's own command needs
            # hwclock, and waits for the next full second.
            result = await agent.run(["/bin/date", "--set", f"{-error:.6f} seconds"], b"", self._clock)
            if result.exit_code != 0:
                raise CommandFailed(f"{container}: the guest's clock cannot be set: {result.stderr.strip()}")
            error = await self._clock_error(agent, container, clock)
        raise SshTimeout(f"{container}: after {_CLOCK_TRIES} tries the guest's clock is wrong by {error:.1f} s")

    async def _clock_error(self, agent: GuestAgent, container: str, clock: Clock) -> float:
        """By how many seconds the guest's clock is ahead. Raises CommandFailed for an answer that is no time."""
        before = clock.now().timestamp()
        guest_time = await agent.execute("guest-get-time")
        middle = (before + clock.now().timestamp()) / 2
        if type(guest_time) is not int or abs(guest_time) >= 1 << 63:  # a bool is an int, too
            raise CommandFailed(f"{container}: the guest agent's time is not a number of nanoseconds")
        return guest_time / 1e9 - middle

    async def _shell(self, container: str, script: str, *arguments: str, timeout: float) -> str:
        argv = ["sh", "-c", script, "sh", *arguments]
        ended = await self._engine.exec(container, argv, timeout=timeout)
        if ended.exit_code == REFUSED:
            raise LeaseLost(f"{container}: a newer claim owns its snapshots")
        if ended.exit_code != 0:
            raise _failure(f"{container}: {ended.stderr.decode(errors='replace').strip()}")
        return ended.stdout.decode(errors="replace")

    async def _clear(self, container: str, draft: str) -> None:
        with suppress(DayflyError):
            # The container may be gone; otherwise the next save removes the draft.
            await self._shell(container, 'rm -rf "$1"', draft, timeout=_SHORT_SECONDS)


def _text(answer: object, name: str) -> str:
    """The text `name`; "" where QEMU's answer has none."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    return found if isinstance(found, str) else ""


def _size(container: str, folder: str, usage: str) -> int:
    """The bytes in the output of `du`. Raises CommandFailed."""
    if (found := _BYTES.match(usage)) is None:
        raise CommandFailed(f"{container}: the size of {folder} is not known")
    return int(found[0])


def _failure(message: str) -> DayflyError:
    return DiskFull(message) if "No space left on device" in message else CommandFailed(message)
