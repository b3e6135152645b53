"""ToolContainers over Docker's API. Not here: what a bake runs in them, and why it needs its privileges (images/)."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.stream import Stream

from dayfly.concurrency import uncancellable
from dayfly.domain.cluster.naming import LABEL_ROLE
from dayfly.drivers.bounds import OUTPUT_BYTES, Lines
from dayfly.drivers.docker.client import DockerClient
from dayfly.drivers.docker.container_config import tool_config
from dayfly.drivers.docker.errors import engine_errors
from dayfly.drivers.docker.objects import commit, create, delete, or_none, unless
from dayfly.drivers.interfaces import OutputLine, ToolContainer
from dayfly.drivers.tar import archive
from dayfly.errors import BakeFailed

_LOOK_SECONDS: Final = 30.0
_CHANGE_SECONDS: Final = 300.0
_LABELS: Final = {LABEL_ROLE: "bake"}
"""No installation's label: no service may collect the volume of a bake's cache."""
_STDOUT: Final = 1


class DockerTools:
    """A ToolRunner. `docker_host` as in DockerClient."""

    def __init__(self, docker_host: str | None = None) -> None:
        self._client = DockerClient(docker_host)

    @asynccontextmanager
    async def run(self, tool: ToolContainer) -> AsyncIterator[DockerToolRun]:
        docker = self._client.get()
        with engine_errors("preparing a container for a bake"):
            socket = await self._check_engine(docker)
        # Named before its creation, so that a cancelled call can remove it.
        container = docker.containers.container(f"dayfly-bake-{secrets.token_hex(6)}")
        doing = f"container {container.id}"
        stream = container.attach(stdin=True, stdout=True, stderr=True)
        try:
            with engine_errors(doing):
                await create(docker, container.id, tool_config(tool, socket, _LABELS), timeout=_CHANGE_SECONDS)
                await _start(container, stream, tool)
            yield DockerToolRun(container, stream)
        finally:
            with engine_errors(doing):
                await _end(container, stream, tool.grace_seconds)

    async def aclose(self) -> None:
        await self._client.close()

    async def _check_engine(self, docker: Docker) -> Path:
        """The engine's socket on this host."""
        socket = self._client.socket
        if socket is None:
            raise BakeFailed(
                f"a bake in a container needs the engine's socket on this host, and the engine is at "
                f"{docker.docker_host}: bake on the engine's host"
            )
        async with asyncio.timeout(_LOOK_SECONDS):
            options = (await docker.system.info())["SecurityOptions"] or ()
        if any("name=rootless" in option for option in options):
            raise BakeFailed(
                "a bake in a container needs an engine that runs as root, and this engine is rootless: "
                "it can neither create device nodes nor set the owners of files"
            )
        return socket


class DockerToolRun:
    """A ToolRun."""

    def __init__(self, container: DockerContainer, stream: Stream) -> None:
        self._container = container
        self._stream = stream

    async def lines(self) -> AsyncIterator[OutputLine]:
        # A bake prints its error with evidence as one line (images/container_bake.py).
        kept = {name: Lines(OUTPUT_BYTES, cut=True) for name in ("stdout", "stderr")}
        with engine_errors(f"reading the output of {self._container.id}"):
            while (message := await self._stream.read_out()) is not None:
                name = "stdout" if message.stream == _STDOUT else "stderr"
                for line in kept[name].add(message.data):
                    yield _line(name, line)
        for name, lines in kept.items():
            for line in lines.end():
                yield _line(name, line)

    async def exit_code(self) -> int | None:
        with engine_errors(f"waiting for {self._container.id}"):
            ended = await or_none(self._container.wait())
        return None if ended is None else int(ended["StatusCode"])

    async def commit(self, reference: str, *, labels: Mapping[str, str]) -> str:
        with engine_errors(f"making {reference}"):
            return await commit(self._container, reference, {"Labels": dict(labels), "Cmd": ["/bin/sh"]})


def _line(name: str, raw: bytes) -> OutputLine:
    return OutputLine("stdout" if name == "stdout" else "stderr", raw.decode(errors="replace").rstrip("\r"))


async def _start(container: DockerContainer, stream: Stream, tool: ToolContainer) -> None:
    async with asyncio.timeout(_CHANGE_SECONDS):
        if tool.files:
            await container.put_archive("/", io.BytesIO(archive(tool.files)))  # type: ignore[no-untyped-call]
        await stream.__aenter__()
        await container.start()


@uncancellable
async def _end(container: DockerContainer, stream: Stream, grace_seconds: float) -> None:
    """Let the program clean up, then remove the container."""
    # aiodocker asserts that the connection is still there.
    with suppress(AssertionError):
        await stream.close()
    if grace_seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await unless(container.wait(), 404)
    async with asyncio.timeout(_CHANGE_SECONDS):
        await delete(container)
        # The engine removes the container asynchronously.
        await unless(container.wait(condition="removed"), 404)
