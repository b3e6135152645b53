"""One aiodocker client, opened on first use.

aiohttp wants a running loop, and an engine that is down must not keep Dayfly from starting.
"""

from __future__ import annotations

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiohttp import UnixConnector

from dayfly.errors import DockerUnavailable


class DockerClient:
    """`docker_host` is `unix://…`, `tcp://…` or `ssh://…`; None: whatever the docker command would use."""

    def __init__(self, docker_host: str | None) -> None:
        self._docker_host = docker_host
        self._docker: Docker | None = None
        self._connector: UnixConnector | None = None

    def get(self) -> Docker:
        """The client. Raises DockerUnavailable when there is no engine to talk to at all."""
        if self._docker is None:
            try:
                self._docker, self._connector = _open(self._docker_host)
            except (AssertionError, ValueError, DockerError) as error:
                # Without a URL aiodocker looks for a socket, and asserts that it found one.
                where = self._docker_host or "DOCKER_HOST, the current context or /var/run/docker.sock"
                raise DockerUnavailable(f"no engine at {where}: is docker running?") from error
        return self._docker

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
