"""One aiodocker client, opened on first use.

aiohttp wants a running loop, and an engine that is down must not keep Dayfly from starting.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiohttp import UnixConnector

from dayfly.drivers.docker import engine_info
from dayfly.drivers.docker.engine_address import NO_ADDRESS, EngineAddress, engine_address
from dayfly.drivers.docker.errors import engine_errors
from dayfly.errors import EngineRefused, EngineUnavailable

CHANGE_SECONDS: Final = 120.0
"""The limit of one change: creating a container on a busy disk is slow."""
LOOK_SECONDS: Final = 30.0
"""The limit of one query: aiodocker itself has none."""
_PING_SECONDS: Final = 10.0


class DockerClient:
    """`docker_host` is `unix://…`, `tcp://…` or `ssh://…`; None: the docker command's (engine_address.py)."""

    def __init__(self, docker_host: str | None) -> None:
        self._docker_host = docker_host
        self._docker: Docker | None = None
        self._connector: UnixConnector | None = None
        self._is_podman: bool | None = None

    def get(self) -> Docker:
        """The client. Raises EngineUnavailable when there is no engine at the address."""
        if self._docker is None:
            address = engine_address(self._docker_host)
            try:
                self._docker, self._connector = _open(address)
            except (ValueError, DockerError) as error:
                detail = f"no engine at {address.url} ({address.source or 'the default'}): {error}"
                raise EngineUnavailable(NO_ADDRESS, operator_detail=detail) from error
        return self._docker

    @property
    def socket(self) -> Path | None:
        """The engine's socket on this host; None for an engine over TCP or SSH."""
        self.get()
        return Path(self._connector.path) if self._connector is not None else None

    async def is_podman(self) -> bool:
        """Whether the engine is Podman. The answer is cached."""
        if self._is_podman is None:
            async with asyncio.timeout(_PING_SECONDS):
                self._is_podman = engine_info.is_podman(await self.get().version())
        return self._is_podman

    @asynccontextmanager
    async def looking(self, doing: str) -> AsyncIterator[Docker]:
        """The client, for a query. Failures are raised as errors of dayfly.errors that begin with `doing`."""
        with engine_errors(doing):
            async with asyncio.timeout(LOOK_SECONDS):
                yield self.get()

    @asynccontextmanager
    async def changing(self, doing: str) -> AsyncIterator[Docker]:
        """The client, for a change. Failures are raised as by looking().

        A stopping engine refuses with messages of many kinds. So a refusal is an EngineRefused only if the engine
        still answers afterwards.
        """
        try:
            with engine_errors(doing):
                async with asyncio.timeout(CHANGE_SECONDS):
                    yield self.get()
        except EngineRefused as refused:
            try:
                await self.ping()
            except EngineUnavailable as error:
                sentence = f"{doing}: the engine stopped answering after it had refused"
                raise EngineUnavailable(sentence, operator_detail=refused.operator_detail) from error
            raise

    async def ping(self) -> None:
        """Raises EngineUnavailable when the engine takes no new connections.

        Always over a new connection: a stopping engine serves open connections to its very end.
        """
        fresh = DockerClient(self._docker_host)
        try:
            with engine_errors("connecting to the engine"):
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


def _open(address: EngineAddress) -> tuple[Docker, UnixConnector | None]:
    """A client, and the connector that must be closed with it.

    Every wait for a container and every event stream holds a connection. aiohttp allows 100 by default: with many
    clusters all further calls would wait. So the limit is lifted for a socket of this host.
    """
    tls = address.tls()
    url = re.sub("^(tcp|http)://", "https://", address.url) if tls is not None else address.url
    found = Docker(url, ssl_context=tls)
    if not isinstance(found.connector, UnixConnector):
        return found, None
    connector = UnixConnector(found.connector.path, limit=0)
    found.session.detach()
    # The host is only for URLs: with a connector, aiodocker ignores it.
    return Docker("unix://localhost", connector=connector), connector
