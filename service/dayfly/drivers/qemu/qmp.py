"""QMP, QEMU's control protocol, over its socket in the node container, through socat."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from qemu.qmp import ExecInterruptedError, ExecuteError, QMPClient, QMPError
from qemu.qmp.error import ProtocolError

from dayfly.domain.cluster.qemu_cmdline import QMP_SOCKET
from dayfly.drivers.interfaces import ByteStream, ContainerEngine
from dayfly.errors import CommandFailed, DayflyError, VmExited

_SOCKET: Final = f"UNIX-CONNECT:{QMP_SOCKET}"
_RETRY_SECONDS: Final = 0.02
_SILENT_SECONDS: Final = 30.0
"""QEMU serves one session at a time: socat ends the silent session of a suspended process after so long, before the
worker that takes over gives up waiting for its own session."""
_CHUNK_BYTES: Final = 65536
_BROKEN: Final = (QMPError, OSError, EOFError, ValueError, RecursionError)
"""The errors of a session. QMPClient raises the last two for a line that is too long, too deep, or no text."""


class Qmp:
    """One session. QEMU serves one session at a time: keep it short."""

    def __init__(self, client: QMPClient, container: str, timeout: float) -> None:
        self._client = client
        self._container = container
        self._timeout = timeout

    async def status(self) -> str:
        """`running`, `paused`, `prelaunch`, `inmigrate`, … as QEMU names it."""
        answer = await self.execute("query-status")
        status = answer.get("status") if isinstance(answer, Mapping) else None
        if not isinstance(status, str):
            raise CommandFailed(f"{self._container}: QEMU's answer to query-status has no status")
        return status

    async def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """QEMU's answer to `command`. Raises CommandFailed when QEMU refuses, VmExited when QEMU is gone or silent."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._client.execute(command, dict(arguments) if arguments else None)
        except ExecuteError as error:
            raise CommandFailed(f"{self._container}: QEMU refused {command}: {error}") from error
        except (ExecInterruptedError, ProtocolError, OSError, EOFError, QMPError) as error:
            raise VmExited(f"{self._container}: QEMU did not answer {command}: {_text(error)}") from error


@asynccontextmanager
async def qmp(
    engine: ContainerEngine, container: str, *, timeout: float = 30.0, starting: bool = False
) -> AsyncIterator[Qmp]:
    """A session with the machine in `container`; connecting, and each command, may take `timeout` seconds.

    `starting`: wait until QEMU listens. A session without `starting` ends when it is silent for too long.
    Raises VmExited when no QEMU answers on the socket, and as `engine.open`.
    """
    # The socket file of an earlier start remains until QEMU creates its own, and refuses connections.
    retry = f",retry={round(timeout / _RETRY_SECONDS)},interval={_RETRY_SECONDS}" if starting else ""
    ending = () if starting else ("-T", f"{min(timeout, _SILENT_SECONDS):g}")
    async with engine.open(container, ("socat", *ending, "-", _SOCKET + retry)) as stream, _pumped(stream) as ours:
        client = QMPClient()  # unnamed: a name creates a logger that is never freed
        try:
            async with asyncio.timeout(timeout):
                await client.connect(ours)
        except _BROKEN as error:  # TimeoutError is an OSError.
            raise VmExited(f"{container}: QEMU does not answer: {_text(error)}") from error
        try:
            yield Qmp(client, container, timeout)
        finally:
            # After QEMU's exit, disconnect() repeats an error that was raised already.
            with suppress(*_BROKEN):
                await client.disconnect()


@asynccontextmanager
async def _pumped(stream: ByteStream) -> AsyncIterator[socket.socket]:
    """A socket that is connected to `stream`: QMPClient accepts only sockets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours:  # a cancellation may come at any await, the first included
        reader, writer = await asyncio.open_connection(sock=theirs)
        # Not a task group, which would wrap the errors of the block: callers match errors by type.
        pumps = [asyncio.create_task(_up(reader, stream)), asyncio.create_task(_down(stream, writer))]
        try:
            yield ours
        except VmExited as error:
            # To QMP a lost engine looks like a QEMU that is gone: raise the engine's error.
            for pump in pumps:
                if pump.done() and not pump.cancelled() and isinstance(cause := pump.exception(), DayflyError):
                    raise cause from error
            raise
        finally:
            writer.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            with suppress(OSError):
                await writer.wait_closed()


async def _up(reader: asyncio.StreamReader, stream: ByteStream) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        await stream.write(data)


async def _down(stream: ByteStream, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
