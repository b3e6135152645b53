"""Ssh over asyncssh: one connection is kept for each node, with its host key pinned.

Not here: which commands run (steps/). The operator's own SSH configuration (agent, known hosts, keys) takes no part;
no key is logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import asyncssh

from dayfly.clock import Clock, SystemClock
from dayfly.concurrency import in_parallel
from dayfly.drivers.bounds import LINE_BYTES, OUTPUT_BYTES, Lines
from dayfly.drivers.interfaces import CommandResult, File, SshTarget
from dayfly.drivers.tar import archive
from dayfly.errors import CommandFailed, SshRefused, SshTimeout, shorten

_RETRY_SECONDS: Final = 0.2
_ATTEMPT_SECONDS: Final = 120.0
"""Longer than any successful login to an emulated node under load."""
_KEEPALIVE_SECONDS: Final = 30
_KEEPALIVE_MISSES: Final = 6
"""A healthy emulated node under load may be silent for a minute or two."""
_READ_BYTES: Final = 32 * 1024
_REASON_CHARACTERS: Final = 500
_BROKEN: Final = (OSError, asyncssh.ConnectionLost, asyncssh.ChannelOpenError, asyncssh.ProtocolError)
"""The connection failed: retry. Every other SSH error is a refusal."""


@dataclass
class _Kept:
    """A target's connection; the lock lets concurrent callers share one connection attempt."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: asyncssh.SSHClientConnection | None = None


class SshConnections:
    """The SSH connections of one process. Each login attempt may take `attempt_seconds`."""

    def __init__(self, *, clock: Clock | None = None, attempt_seconds: float = _ATTEMPT_SECONDS) -> None:
        self._clock = clock or SystemClock()
        self._attempt_seconds = attempt_seconds
        self._kept: dict[SshTarget, _Kept] = {}

    async def wait(self, target: SshTarget, *, timeout: float) -> None:
        # Run a command: a kept connection may be stale.
        await self.run(target, "true", timeout=timeout)

    async def run(
        self,
        target: SshTarget,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float,
        on_line: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Reconnects when the connection breaks before the command has started. Raises SshTimeout when the connection
        breaks while the command runs: only the caller knows whether the command may run twice.
        """
        failures: list[str] = []  # the last one only: a guest that refuses is asked five times a second
        try:
            async with asyncio.timeout(timeout):
                process = await self._begin(target, command, stdin, failures)
                return await _finish(process, on_line)
        except TimeoutError as error:
            reason = f"; last error: {failures[-1]}" if failures else ""
            raise SshTimeout(f"{target} did not answer within {timeout:g} s{reason}") from error
        except _BROKEN as error:
            raise SshTimeout(f"{target}: the connection broke while a command ran: {_text(error)}") from error

    async def put(self, target: SshTarget, files: Sequence[File], *, timeout: float) -> None:
        # -o: no owner from the archive. Both GNU's and busybox's tar have the short options.
        result = await self.run(target, "umask 022 && tar -x -p -o -C / -f -", stdin=archive(files), timeout=timeout)
        if result.exit_code != 0:
            paths = ", ".join(file.path for file in files)
            raise CommandFailed(f"{target}: writing {paths} failed", evidence={"stderr": result.stderr})

    async def forget(self, target: SshTarget) -> None:
        if (kept := self._kept.pop(target, None)) is not None:
            await _close(kept)

    async def close(self) -> None:
        for target in tuple(self._kept):
            await self.forget(target)

    async def _begin(
        self, target: SshTarget, command: str, stdin: bytes, failures: list[str]
    ) -> asyncssh.SSHClientProcess[bytes]:
        while True:
            connection = await self._connection(target, failures)
            try:
                return await connection.create_process(command, input=stdin, encoding=None)
            except _BROKEN as error:
                failures[:] = [_text(error)]
                connection.abort()
                await self._clock.sleep(_RETRY_SECONDS)

    async def _connection(self, target: SshTarget, failures: list[str]) -> asyncssh.SSHClientConnection:
        while True:
            if (kept := self._kept.get(target)) is None:
                self._drop_dead()
                kept = self._kept[target] = _Kept()
            async with kept.lock:
                if kept.connection is None or kept.connection.is_closed():
                    kept.connection = await self._connect(target, failures)
                if self._kept.get(target) is kept:
                    return kept.connection
                # forget() ran during the connect: no later call would close this connection.
                await _close(kept)

    def _drop_dead(self) -> None:
        """Remove closed connections, and with them the private keys of deleted clusters."""
        for target, kept in tuple(self._kept.items()):
            if not kept.lock.locked() and (kept.connection is None or kept.connection.is_closed()):
                del self._kept[target]

    async def _connect(self, target: SshTarget, failures: list[str]) -> asyncssh.SSHClientConnection:
        """Retry until a login succeeds or the caller's timeout ends.

        The published port accepts connections before the VM is up, and frequent attempts make a booting node
        unreachable: so an attempt may take long. Its limit ends a connection that was lost on the way and stays silent.
        """
        try:
            host_key = asyncssh.import_public_key(target.host_public_key)
            user_key = asyncssh.import_private_key(target.private_key)
        except asyncssh.KeyImportError as error:
            raise SshRefused(f"{target}: the host key or the private key cannot be parsed") from error
        while True:
            try:
                async with asyncio.timeout(self._attempt_seconds):
                    return await asyncssh.connect(
                        target.host,
                        target.port,
                        username=target.username,
                        client_keys=[user_key],
                        known_hosts=([host_key], [], []),
                        preferred_auth="publickey",
                        agent_path=None,
                        config=None,
                        compression_algs=None,
                        connect_timeout=None,
                        login_timeout=0,
                        keepalive_interval=_KEEPALIVE_SECONDS,
                        keepalive_count_max=_KEEPALIVE_MISSES,
                    )
            except TimeoutError as error:
                # The error of asyncio.timeout() has no text.
                failures[:] = [str(error) or f"silent for {self._attempt_seconds:g} s"]
            except _BROKEN as error:
                failures[:] = [_text(error)]
            except asyncssh.DisconnectError as error:
                raise SshRefused(f"{target}: {_text(error)}") from error
            await self._clock.sleep(_RETRY_SECONDS)


async def _finish(process: asyncssh.SSHClientProcess[bytes], on_line: Callable[[str], None] | None) -> CommandResult:
    stdout, stderr = bytearray(), bytearray()
    try:
        await in_parallel((_drain(process.stdout, stdout, on_line), _drain(process.stderr, stderr, on_line)))
        await process.wait_closed()
    finally:
        if process.returncode is None:
            # Timeout, too much output, or cancellation: end the command on the node.
            with suppress(OSError):
                process.kill()
            process.close()
    if process.returncode is None:
        raise asyncssh.ConnectionLost("no exit code came")
    return CommandResult(process.returncode, _decode(stdout), _decode(stderr))


async def _drain(reader: asyncssh.SSHReader[bytes], into: bytearray, on_line: Callable[[str], None] | None) -> None:
    lines = Lines(LINE_BYTES, cut=True)
    while data := await reader.read(_READ_BYTES):
        into += data
        if len(into) > OUTPUT_BYTES:
            raise CommandFailed(f"a command on the node printed more than {OUTPUT_BYTES >> 20} MiB, and was ended")
        if on_line is not None:
            for line in lines.add(data):
                on_line(_decode(line).rstrip("\r"))
    if on_line is not None:
        for line in lines.end():
            on_line(_decode(line))


async def _close(kept: _Kept) -> None:
    if kept.connection is not None:
        kept.connection.abort()
        await kept.connection.wait_closed()


def _decode(data: bytes | bytearray) -> str:
    return data.decode(errors="replace")


def _text(error: Exception) -> str:
    """What the guest's SSH server wrote, as a disconnect's reason, may be long."""
    return shorten(str(error), _REASON_CHARACTERS) or type(error).__name__
