"""Commands in running containers by Docker's exec: complete runs, and duplex streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.execs import Exec
from aiodocker.stream import Stream

from dayfly.clock import Clock
from dayfly.concurrency import unwrap_exception_group
from dayfly.drivers.bounds import OUTPUT_BYTES
from dayfly.drivers.docker.errors import engine_errors, is_status
from dayfly.drivers.interfaces import ByteStream, ExecResult
from dayfly.errors import CommandFailed, ContainerExited, EngineRefused

_STDOUT = 1
_POLL_SECONDS = 0.02
_NOT_RUNNING = ("is not running", "container state improper")
"""Docker's message, and Podman's."""


async def run(
    docker: Docker, name: str, argv: Sequence[str], *, stdin: bytes, timeout: float, clock: Clock
) -> ExecResult:
    """Run `argv` in container `name` to completion.

    Raises ContainerExited when the container is not running, CommandFailed after `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            with engine_errors(f"running a command in {name}"):
                return await _run(docker, name, argv, stdin, clock)
    except TimeoutError as error:
        raise CommandFailed(f"{argv[0]} in {name} did not end within {timeout:g} s") from error


@asynccontextmanager
async def duplex(docker: Docker, name: str, argv: Sequence[str], *, timeout: float) -> AsyncIterator[ByteStream]:
    """A running `argv` in container `name`, started within `timeout` seconds; its stdin ends with the block."""
    with engine_errors(f"running a command in {name}"):
        async with asyncio.timeout(timeout):
            created = await _create(docker, name, argv, stdin=True)
            stream = created.start(detach=False)
            await stream.__aenter__()
    try:
        yield _Duplex(stream, name)
    finally:
        await stream.close()


async def _run(docker: Docker, name: str, argv: Sequence[str], stdin: bytes, clock: Clock) -> ExecResult:
    created = await _create(docker, name, argv, stdin=bool(stdin))
    stdout, stderr = bytearray(), bytearray()
    async with created.start(detach=False) as stream, unwrap_exception_group(), asyncio.TaskGroup() as group:
        if stdin:
            # Written while reading: a command that answers as it reads would otherwise deadlock.
            group.create_task(_feed(stream, stdin))
        while (message := await stream.read_out()) is not None:
            stream_of = stdout if message.stream == _STDOUT else stderr
            stream_of.extend(message.data)
            if len(stream_of) > OUTPUT_BYTES:
                raise CommandFailed(f"{argv[0]} in {name} printed more than {OUTPUT_BYTES >> 20} MiB")
    return ExecResult(await _exit_code(created, name, clock), bytes(stdout), bytes(stderr))


async def _create(docker: Docker, name: str, argv: Sequence[str], *, stdin: bool) -> Exec:
    try:
        return await docker.containers.container(name).exec(list(argv), stdin=stdin)
    except DockerError as error:
        if is_status(error, 404) or any(words in error.message for words in _NOT_RUNNING):
            raise ContainerExited(f"{name} is not running") from error
        raise


async def _feed(stream: Stream, data: bytes) -> None:
    try:
        await stream.write_in(data)
        # aiodocker can only close both directions at once, but the command needs the end of its input first.
        response = stream._resp  # noqa: SLF001
        transport = response.connection.transport if response and response.connection else None
        if transport is not None and transport.can_write_eof():
            transport.write_eof()
    except (ConnectionError, AssertionError):
        # The command ended without reading all of its input. Its exit code is the result.
        return


async def _exit_code(created: Exec, name: str, clock: Clock) -> int:
    """Poll: the stream may end before the engine has recorded the end of the process."""
    while True:
        try:
            state = await created.inspect()
        except DockerError as error:
            if is_status(error, 404):
                # The engine drops the records of a container's commands when the container ends.
                raise ContainerExited(f"{name} is not running any more") from error
            raise
        if not state["Running"]:
            break
        await clock.sleep(_POLL_SECONDS)
    if state["ExitCode"] is None:
        raise EngineRefused(f"running a command in {name}: the command did not start")
    return int(state["ExitCode"])


class _Duplex:
    """A ByteStream over an exec. Standard error is dropped."""

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._doing = f"running a command in {name}"

    async def read(self) -> bytes:
        with engine_errors(self._doing):
            while (message := await self._stream.read_out()) is not None:
                if message.stream == _STDOUT:
                    return message.data
        return b""

    async def write(self, data: bytes) -> None:
        # aiodocker asserts that the program still runs. The next read() reports its end.
        with suppress(AssertionError), engine_errors(self._doing):
            await self._stream.write_in(data)
