"""A bake in a process of its own, which a builder starts: the service's event loop does none of the work.

The process (cli/bake_process.py) reads the order from its standard input, prints JSON lines as a bake in a container
does (container_bake.py), asks its builder for room before the verification, and cleans up when its input ends: so it
ends with its builder, however that ends. As root it has namespaces of its own for processes and mounts, which end with
it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import structlog

from dayfly.domain.bake import BakedImage, BakeOrder
from dayfly.domain.scheduling.resources import Resources
from dayfly.drivers.interfaces import ImageStore, OutputLine
from dayfly.errors import BakeFailed
from dayfly.images.bake import AskForRoom
from dayfly.images.container import TAG_LENGTH
from dayfly.images.container_bake import follow
from dayfly.images.node_images import resolve_image
from dayfly.images.process import SANDBOX
from dayfly.images.progress import Report

CLEAN_UP_SECONDS: Final = 120.0
"""How long the process may clean up when the bake is cancelled."""
ROOM: Final = b"room\n"
"""The answer to a room_line (container_bake.py): the verification may begin."""
_LINE_BYTES: Final = 1 << 22
"""An error's line has all of its evidence."""

_log = structlog.get_logger(__name__)


def order_line(order: BakeOrder) -> bytes:
    """The order as the process reads it."""
    return json.dumps(vars(order)).encode() + b"\n"


def order_from(line: bytes) -> BakeOrder:
    fields = json.loads(line)
    conformance = fields.pop("conformance")
    return BakeOrder(**fields, conformance=None if conformance is None else tuple(conformance))


def bake_command() -> tuple[str, ...]:
    """The command line of the process."""
    # Without root, the bake itself says what is missing; an image that exists needs no bake.
    return (*(SANDBOX if os.geteuid() == 0 else ()), sys.executable, "-m", "dayfly.cli.bake_process")


async def bake_in_process(
    order: BakeOrder,
    report: Report,
    *,
    images: ImageStore,
    room: AskForRoom | None = None,
    command: Sequence[str] | None = None,
    clean_up_seconds: float = CLEAN_UP_SECONDS,
) -> BakedImage:
    """As images.bake.bake, for an order. When it is cancelled, the process has ended before the cancellation goes on.

    `room`: waits for resources of the host before the verification; None: it never waits. `command`: of another program
    than bake_command(). Raises the errors of a bake.
    """
    argv = bake_command() if command is None else command
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # A bake has no database, and its programs need not know the keys of the database's secrets.
            env={name: value for name, value in os.environ.items() if name != "DAYFLY_SECRETS_KEY"},
            start_new_session=True,  # Ctrl-C is for the builder
            limit=_LINE_BYTES,
        )
    except OSError as error:
        raise BakeFailed(f"{argv[0]} cannot be started: {error.strerror}") from error
    output = _Output(process, order_line(order))

    async def answer(needs: Resources) -> None:
        if room is not None:
            await room(needs)
        await output.write(ROOM)

    try:
        image_id = await follow(output, report, "the bake's process", answer)
    finally:
        await _end(process, clean_up_seconds)
    _, manifest = await resolve_image(images, image_id)
    return BakedImage(f"dayfly/{manifest.recipe}:{manifest.digest[:TAG_LENGTH]}", image_id)


class _Output:
    """The output of the process, for container_bake.follow."""

    def __init__(self, process: asyncio.subprocess.Process, order: bytes) -> None:
        self._process, self._order = process, order

    async def lines(self) -> AsyncIterator[OutputLine]:
        process = self._process
        assert process.stdout is not None  # noqa: S101 - asked for above
        await self.write(self._order)
        while raw := await _line(process.stdout):
            yield OutputLine("stdout", raw.decode(errors="replace").rstrip())

    async def write(self, line: bytes) -> None:
        """To its input."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - asked for above
        with suppress(BrokenPipeError, ConnectionResetError):  # its output says why it ended
            stdin.write(line)
            await stdin.drain()

    async def exit_code(self) -> int | None:
        return await self._process.wait()


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # asyncio drops a line beyond the limit
        return b"(a line that is too long)\n"


async def _end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """End the input, which lets the process clean up and end; after `seconds`, kill the process and its namespaces."""
    assert process.stdin is not None  # noqa: S101
    process.stdin.close()
    try:
        async with asyncio.timeout(seconds):
            await _drained(process)
    except TimeoutError:
        _log.warning("a bake's process did not end and is killed", pid=process.pid, seconds=seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _drained(process: asyncio.subprocess.Process) -> None:
    """Read the rest of the output: a process whose output nobody reads does not end."""
    assert process.stdout is not None  # noqa: S101
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()
