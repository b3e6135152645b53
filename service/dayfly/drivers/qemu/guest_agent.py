"""The agent in a guest, over its channel in the node container: through socat, as the socket lies in there.

The agent serves one talk after the other, and has no memory of who asked: a reply that nobody fetches stands before
the next talk's, and the agent spins until somebody does. So each talk begins with a synchronisation, and a reply is
awaited for a moment even where whoever asked is gone. Not here: what is done in guests (steps/).
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
from dayfly.drivers.interfaces import ByteStream, CommandResult, ContainerEngine
from dayfly.errors import CommandFailed, SshTimeout

_SOCAT: Final = ("socat", "-", f"UNIX-CONNECT:{AGENT_SOCKET}")
_DELIMITER: Final = b"\xff"
"""Before it, the agent drops what it was told; so do we. It is in no UTF-8 text."""
_LAST_WAIT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.02
_LONGEST_POLL_SECONDS: Final = 0.15
"""A look at a command takes an emulated guest some milliseconds of what the command needs, too: ever more rarely."""
_READ_BYTES: Final = 4096


class GuestAgent:
    """One talk with the agent of the guest in `container`."""

    def __init__(self, stream: ByteStream, container: str) -> None:
        self._stream = stream
        self._container = container
        self._received = b""

    async def synchronise(self) -> None:
        """What is left of earlier talks is dropped, on both ends."""
        mark = secrets.randbelow(2**31)
        # Sent once: of each delimiter the agent complains, which must come before what we wait for.
        request = _DELIMITER + _request("guest-sync-delimited", {"id": mark})
        while await self._exchange(request, delimited=True) != {"return": mark}:
            request = b""

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """The agent's answer. Raises CommandFailed where it refuses."""
        answer = await self._exchange(_request(command, arguments))
        if isinstance(answer, Mapping) and "return" in answer:
            return answer["return"]
        raise CommandFailed(f"{self._container}: the guest's agent refused {command}: {_refusal(answer)}")

    async def run(self, argv: Sequence[str], stdin: bytes, clock: Clock) -> CommandResult:
        """Run `argv` in the guest, to its end. Neither argv nor stdin is in any error."""
        program, *arguments = argv
        asked: dict[str, object] = {"path": program, "arg": arguments, "capture-output": True}
        if stdin:
            asked["input-data"] = base64.b64encode(stdin).decode()
        pid = _field(await self.execute("guest-exec", asked), "pid")
        pause = _POLL_SECONDS
        while not _field(status := await self.execute("guest-exec-status", {"pid": pid}), "exited"):
            await clock.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL_SECONDS)
        assert isinstance(status, Mapping)  # noqa: S101 - _field() has looked
        # A signal that ended it, as a shell tells it.
        code = status.get("exitcode", 128 + int(status.get("signal", 0)))
        return CommandResult(int(code), _text(status.get("out-data", "")), _text(status.get("err-data", "")))

    async def read(self, path: str) -> bytes:
        """The beginning of a small file, by the agent itself: a process would cost an emulated guest some tenths of a
        second. Raises CommandFailed where there is none.
        """
        handle = await self.execute("guest-file-open", {"path": path, "mode": "r"})
        try:
            found = await self.execute("guest-file-read", {"handle": handle, "count": _READ_BYTES})
        finally:
            # The caller's time may be over by now, and limits nothing any more.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WAIT_SECONDS):
                    await self.execute("guest-file-close", {"handle": handle})
        return base64.b64decode(str(_field(found, "buf-b64")))

    async def _exchange(self, request: bytes, *, delimited: bool = False) -> object:
        """One request and its reply, the latter awaited for a moment even by whoever is cancelled."""

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
                self._received = await self._more()
            self._received = self._received.rpartition(_DELIMITER)[2]
        while b"\n" not in self._received:
            self._received += await self._more()
        line, _, self._received = self._received.partition(b"\n")
        try:
            reply: object = json.loads(line)
        except ValueError as error:
            raise CommandFailed(f"{self._container}: the guest's agent answered with something else") from error
        return reply

    async def _more(self) -> bytes:
        if data := await self._stream.read():
            return data
        raise SshTimeout(f"{self._container}: no process serves the channel to the guest's agent")


@asynccontextmanager
async def guest_agent(engine: ContainerEngine, container: str, *, timeout: float) -> AsyncIterator[GuestAgent]:
    """A talk that may take `timeout` seconds, with what `engine.open` raises, and SshTimeout where no agent answers."""
    try:
        async with asyncio.timeout(timeout), engine.open(container, _SOCAT) as stream:
            agent = GuestAgent(stream, container)
            await agent.synchronise()
            yield agent
    except TimeoutError as error:
        raise SshTimeout(f"{container}: the guest's agent did not answer within {timeout:g} s") from error


def _request(command: str, arguments: Mapping[str, object] | None) -> bytes:
    asked = {"execute": command} | ({"arguments": arguments} if arguments else {})
    return json.dumps(asked).encode() + b"\n"


def _field(answer: object, name: str) -> object:
    if isinstance(answer, Mapping) and name in answer:
        return answer[name]
    raise CommandFailed(f"the guest's agent answered without {name}")


def _refusal(answer: object) -> str:
    error = answer.get("error") if isinstance(answer, Mapping) else None
    return str(error.get("desc")) if isinstance(error, Mapping) else "it answered with something else"


def _text(data: object) -> str:
    return base64.b64decode(str(data)).decode(errors="replace")
