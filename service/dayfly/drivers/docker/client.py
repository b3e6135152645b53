"""One aiodocker client, opened on first use.

aiohttp wants a running loop, and an engine that is down must not keep Dayfly from starting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiohttp import UnixConnector

from dayfly.drivers.docker import engine_info
from dayfly.drivers.docker.errors import engine_errors
from dayfly.errors import EngineRefused, EngineUnavailable

_PING_SECONDS: Final = 10.0


class DockerClient:
    """`docker_host` is `unix://…`, `tcp://…` or `ssh://…`; None: whatever the docker command would use."""

    def __init__(self, docker_host: str | None) -> None:
        self._docker_host = docker_host
        self._docker: Docker | None = None
        self._connector: UnixConnector | None = None
        self._is_podman: bool | None = None

    def get(self) -> Docker:
        """The client. Raises EngineUnavailable when there is no engine to talk to at all."""
        if self._docker is None:
            try:
                self._docker, self._connector = _open(self._docker_host)
            except (AssertionError, ValueError, DockerError) as error:
                # Without a URL aiodocker looks for a socket, and asserts that it found one.
                where = self._docker_host or "DOCKER_HOST, the current context or /var/run/docker.sock"
                raise EngineUnavailable(f"no engine at {where}: is docker running?") from error
        return self._docker

    @property
    def socket(self) -> Path | None:
        """The engine's socket on this host; None where it is reached in another way."""
        self.get()
        return Path(self._connector.path) if self._connector is not None else None

    async def is_podman(self) -> bool:
        """Whether Podman answers at this socket. Asked once."""
        if self._is_podman is None:
            async with asyncio.timeout(_PING_SECONDS):
                self._is_podman = engine_info.is_podman(await self.get().version())
        return self._is_podman

    @asynccontextmanager
    async def changing(self, doing: str) -> AsyncIterator[Docker]:
        """The client, for a change. Failures are raised as errors of dayfly.errors that begin with `doing`.

        An engine that is going down refuses for reasons of its own, in words that nobody can list: a refusal counts
        as one only while the engine still answers.
        """
        try:
            with engine_errors(doing):
                yield self.get()
        except EngineRefused as refused:
            try:
                await self.ping()
            except EngineUnavailable as error:
                raise EngineUnavailable(f"{refused.message} (and then it went away)") from error
            raise

    async def ping(self) -> None:
        """Raises EngineUnavailable when the engine takes no new connections.

        Never asked over a kept connection: those are served to the very end of an engine that is going down.
        """
        fresh = DockerClient(self._docker_host)
        try:
            with engine_errors("ping"):
                async with asyncio.timeout(_PING_SECONDS), fresh.get()._query("_ping", versioned_api=False):  # noqa: SLF001
                    pass
        finally:
            await fresh.close()

    async def close(self) -> None:
        docker, connector = self._docker, self._connector
        self._docker = self._connector = None
        if docker is not None:
            await docker.close()
        if connector is not None:
            await connector.close()


def _open(docker_host: str | None) -> tuple[Docker, UnixConnector | None]:
    """A client, and the connector that is ours to close.

    Every wait for a container and every event stream holds a connection, and aiohttp allows no more than 100: with
    many clusters all further calls would wait behind them. A socket of this host has no such limit.
    """
    found = Docker(docker_host)
    if not isinstance(found.connector, UnixConnector):
        return found, None
    connector = UnixConnector(found.connector.path, limit=0)
    found.session.detach()
    # A host for URLs only: with a connector given, aiodocker does not look at it.
    return Docker("unix://localhost", connector=connector), connector
