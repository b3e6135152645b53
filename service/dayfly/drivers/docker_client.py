"""One aiodocker client, opened on first use.

aiohttp wants a running loop, and an engine that is down must not keep Dayfly from starting.
"""

from __future__ import annotations

from aiodocker import Docker
from aiodocker.exceptions import DockerError

from dayfly.errors import DockerUnavailable


class DockerClient:
    """`docker_host` is `unix://…`, `tcp://…` or `ssh://…`; None: whatever the docker command would use."""

    def __init__(self, docker_host: str | None) -> None:
        self._docker_host = docker_host
        self._docker: Docker | None = None

    def get(self) -> Docker:
        """The client. Raises DockerUnavailable when there is no engine to talk to at all."""
        if self._docker is None:
            try:
                self._docker = Docker(self._docker_host)
            except (AssertionError, ValueError, DockerError) as error:
                # Without a URL aiodocker looks for a socket, and asserts that it found one.
                where = self._docker_host or "DOCKER_HOST, the current context or /var/run/docker.sock"
                raise DockerUnavailable(f"no engine at {where}: is docker running?") from error
        return self._docker

    async def close(self) -> None:
        if self._docker is not None:
            docker, self._docker = self._docker, None
            await docker.close()
