"""A real SSH server in this process; it runs commands in this machine's shell."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import asyncssh

from dayfly.drivers.interfaces import SshTarget


class Server:
    """An SSH server that runs commands with the host's shell, and counts what reaches it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.logins = 0
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.running: set[asyncio.subprocess.Process] = set()
        self.ended = asyncio.Event()
        self._private_key = self.user_key.export_private_key().decode()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, port: int = 0) -> None:
        keys = asyncssh.import_authorized_keys(self.user_key.export_public_key().decode())
        self._acceptor = await asyncssh.create_server(
            lambda: Login(self),
            "127.0.0.1",
            port,
            server_host_keys=[self.host_key],
            authorized_client_keys=keys,
            process_factory=self._run,
            encoding=None,
        )

    @property
    def port(self) -> int:
        assert self._acceptor is not None
        return self._acceptor.get_port()

    @property
    def target(self) -> SshTarget:
        return SshTarget(
            "127.0.0.1",
            self.port,
            private_key=self._private_key,
            host_public_key=self.host_key.export_public_key().decode(),
        )

    def cut(self) -> None:
        """Break every connection, as a host that goes away."""
        for connection in self.connections:
            connection.abort()

    async def stop(self) -> None:
        assert self._acceptor is not None
        self._acceptor.close()
        for connection in self.connections:
            connection.abort()
            await connection.wait_closed()
        await self._acceptor.wait_closed()

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = (process.command or "").replace("-C /", f"-C {self.root}")
        child = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.running.add(child)
        feeding = asyncio.create_task(_feed(process.stdin, child))
        pipes = ((child.stdout, process.stdout), (child.stderr, process.stderr))
        copying = [asyncio.create_task(_copy(reader, writer)) for reader, writer in pipes]
        try:
            await asyncio.gather(*copying)
            code = await child.wait()
            process.exit(code if code >= 0 else 128 - code)
        except (OSError, asyncssh.Error):
            return
        finally:
            for task in (feeding, *copying):
                task.cancel()
            await asyncio.gather(feeding, *copying, return_exceptions=True)
            if child.returncode is None:
                os.killpg(child.pid, 9)
                # asyncio calls a process ended when its pipes are, and no longer reads one whose buffer is full.
                await _rest(child)
            await child.wait()
            self.running.discard(child)
            self.ended.set()


async def _feed(reader: asyncssh.SSHReader[bytes], child: asyncio.subprocess.Process) -> None:
    """Forward standard input and signals to the whole process group, as sshd does."""
    assert child.stdin is not None
    try:
        while data := await reader.read(65536):
            child.stdin.write(data)
            await child.stdin.drain()
        child.stdin.close()
        await reader.read(1)
    except asyncssh.SignalReceived as received:
        os.killpg(child.pid, signal.Signals[f"SIG{received.signal}"])


async def _rest(child: asyncio.subprocess.Process) -> None:
    for reader in (child.stdout, child.stderr):
        assert reader is not None
        while await reader.read(65536):
            pass


async def _copy(reader: asyncio.StreamReader | None, writer: asyncssh.SSHWriter[bytes]) -> None:
    assert reader is not None
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class Login(asyncssh.SSHServer):
    """Counts logins, and keeps the connections so that a test can cut them."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.server.connections.append(conn)

    def auth_completed(self) -> None:
        self.server.logins += 1
