"""The QEMU guest agent, over its socket in the node container, through socat.

The agent serves one connection at a time and keeps no session state: an unread reply precedes the replies of the next
session, and the agent spins until a client reads it. So each session begins with a synchronisation, and a cancelled
call still waits briefly for its reply. Not here: the commands that run in guests (steps/).
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from dayfly.clock import Clock
from dayfly.domain.cluster.qemu_cmdline import AGENT_SOCKET
from dayfly.drivers.bounds import ANSWER_BYTES, parse_json
from dayfly.drivers.interfaces import ByteStream, CommandResult, ContainerEngine
from dayfly.errors import CommandFailed, SshTimeout

_SOCAT: Final = ("socat", "-", f"UNIX-CONNECT:{AGENT_SOCKET}")
_DELIMITER: Final = b"\xff"
"""The agent drops input before this byte, and this client drops output before it. UTF-8 text never contains it."""
_LAST_WAIT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.02
_LONGEST_POLL_SECONDS: Final = 0.15
"""A poll costs an emulated guest some milliseconds of CPU that the command needs: the interval grows up to this."""
_READ_BYTES: Final = 4096
_OUTPUTS: Final = ("out-data", "err-data")


class GuestAgent:
    """One session with the agent of the guest in `container`."""

    def __init__(self, stream: ByteStream, container: str) -> None:
        self._stream = stream
        self._container = container
        self._received = bytearray()

    async def synchronise(self) -> None:
        """Discard the remains of earlier sessions, on both ends."""
        mark = secrets.randbelow(2**31)
        # Sent once: the agent answers each delimiter with an error, which must precede the awaited reply.
        request = _DELIMITER + _request("guest-sync-delimited", {"id": mark})
        while await self._exchange(request, delimited=True) != {"return": mark}:
            request = b""

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """The agent's reply. Raises CommandFailed when the agent refuses `command`."""
        answer = await self._exchange(_request(command, arguments))
        if isinstance(answer, Mapping) and "return" in answer:
            return answer["return"]
        raise CommandFailed(f"{self._container}: the guest agent refused {command}: {_refusal(answer)}")

    async def run(self, argv: Sequence[str], stdin: bytes, clock: Clock) -> CommandResult:
        """Run `argv` in the guest to completion. No error contains argv or stdin: both may hold secrets."""
        program, *arguments = argv
        request: dict[str, object] = {"path": program, "arg": arguments, "capture-output": True}
        if stdin:
            request["input-data"] = base64.b64encode(stdin).decode()
        pid = _number(await self.execute("guest-exec", request), "pid")
        pause = _POLL_SECONDS
        while not _field(status := await self.execute("guest-exec-status", {"pid": pid}), "exited"):
            await clock.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL_SECONDS)
        assert isinstance(status, Mapping)  # noqa: S101 - _field() has checked
        # A process that a signal ended gets the exit code of a shell.
        code = _number(status, "exitcode") if "exitcode" in status else 128 + _number(status, "signal")
        return CommandResult(code, *(_bytes(status.get(name, "")).decode(errors="replace") for name in _OUTPUTS))

    async def read(self, path: str) -> bytes:
        """The first 4096 bytes of a file, read by the agent itself: a process costs an emulated guest some tenths of a
        second. Raises CommandFailed when the file does not exist.
        """
        handle = await self.execute("guest-file-open", {"path": path, "mode": "r"})
        try:
            found = await self.execute("guest-file-read", {"handle": handle, "count": _READ_BYTES})
        finally:
            # The caller's timeout may have fired already: it does not limit this call.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WAIT_SECONDS):
                    await self.execute("guest-file-close", {"handle": handle})
        return _bytes(_field(found, "buf-b64"))

    async def _exchange(self, request: bytes, *, delimited: bool = False) -> object:
        """One request and its reply. A cancelled call still waits briefly for the reply."""

        async def both() -> object:
            if request:
                await self._stream.write(request)
            return await self._reply(delimited=delimited)

        exchange = asyncio.ensure_future(both())
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            await asyncio.wait([exchange], timeout=_LAST_WAIT_SECONDS)
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)
            raise

    async def _reply(self, *, delimited: bool) -> object:
        if delimited:
            while _DELIMITER not in self._received:
                self._received = bytearray(await self._more())
            self._received = self._received.rpartition(_DELIMITER)[2]
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > ANSWER_BYTES:
                raise CommandFailed(f"{self._container}: the guest agent's reply is longer than {ANSWER_BYTES} bytes")
            self._received += await self._more()
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            return parse_json(line)
        except ValueError as error:
            raise CommandFailed(f"{self._container}: the guest agent's reply is not JSON") from error

    async def _more(self) -> bytes:
        if data := await self._stream.read():
            return data
        raise SshTimeout(f"{self._container}: the channel to the guest agent was closed")


@asynccontextmanager
async def guest_agent(engine: ContainerEngine, container: str, *, timeout: float) -> AsyncIterator[GuestAgent]:
    """A session of at most `timeout` seconds. Raises as `engine.open`, and SshTimeout when no agent answers."""
    try:
        async with asyncio.timeout(timeout), engine.open(container, _SOCAT) as stream:
            agent = GuestAgent(stream, container)
            await agent.synchronise()
            yield agent
    except TimeoutError as error:
        raise SshTimeout(f"{container}: the guest agent did not answer within {timeout:g} s") from error


def _request(command: str, arguments: Mapping[str, object] | None) -> bytes:
    request = {"execute": command} | ({"arguments": arguments} if arguments else {})
    return json.dumps(request).encode() + b"\n"


def _field(answer: object, name: str) -> object:
    if isinstance(answer, Mapping) and name in answer:
        return answer[name]
    raise CommandFailed(f"the guest agent's reply has no field {name}")


def _refusal(answer: object) -> str:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    words = error.get("desc") if isinstance(error, Mapping) else None
    return words if isinstance(words, str) else "its reply has no error description"


def _number(answer: object, name: str) -> int:
    number = _field(answer, name)
    if type(number) is int and abs(number) < 1 << 32:  # a bool is an int, too
        return number
    raise CommandFailed(f"the guest agent's reply has no number {name}")


def _bytes(data: object) -> bytes:
    try:
        if isinstance(data, str):
            return base64.b64decode(data)
    except ValueError:
        pass
    raise CommandFailed("the guest agent's reply has data that is not base64")
