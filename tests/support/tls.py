"""Certificates for tests of the API's TLS, and the server with TLS on a free port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dayfly.api.dependencies import ApiServices
from dayfly.api.server import Server, create_server
from dayfly.clock import Clock, SystemClock
from dayfly.domain.security.server_authority import ServerAuthority, issue_server_certificate, new_authority
from dayfly.tls.server_tls import ServerTls

PATIENCE = 30
LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Issuer:
    """An authority of a test, made `now`."""

    authority: ServerAuthority

    @classmethod
    def new(cls, now: datetime | None = None) -> Issuer:
        return cls(new_authority("a test", now or datetime.now(UTC)))

    def write(self, file: Path, *names: str, age: timedelta = timedelta()) -> Path:
        """A key with a certificate for `names`, issued `age` ago, in one file."""
        now = datetime.now(UTC) - age
        file.write_text(issue_server_certificate(self.authority, names or LOCAL, now))
        return file

    def write_ca(self, file: Path) -> Path:
        file.write_text(self.authority.certificate)
        return file


def tls_of(file: Path, key: Path | None = None, clock: Clock | None = None, look_seconds: float = 0.02) -> ServerTls:
    return ServerTls(lambda _now: (file, key), clock or SystemClock(), look_seconds=look_seconds)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(PATIENCE * 100):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not hold")


@asynccontextmanager
async def listening_with_tls(
    services: ApiServices, tls: ServerTls, *others: socket.socket
) -> AsyncIterator[tuple[Server, str, int]]:
    """The server as `dayfly serve` has it; it looks after its certificate. → the server, host and port.

    `others`: sockets beside that of the port.
    """
    await tls.start()
    server = create_server(services, tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            looking = group.create_task(tls.run())
            group.create_task(server.serve(sockets=[listener, *others]))
            yield server, "127.0.0.1", listener.getsockname()[1]
            services.closing.set()
            server.should_exit = True
            looking.cancel()
