"""Runs host commands of a bake, and kills them when the bake is cancelled. Their last lines are the evidence.

Not here: which commands.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from dayfly.errors import BakeFailed, DiskFull

EVIDENCE_LINES: Final = 60
_LINE_BYTES: Final = 1 << 20
_NO_SPACE: Final = ("No space left on device", "ENOSPC", "You don't have enough free space")

SANDBOX: Final[tuple[str, ...]] = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""A prefix for commands that mount or leave processes: the end of `unshare` removes all mounts and processes."""
OFFLINE: Final[tuple[str, ...]] = (*SANDBOX, "--net")


async def run(
    argv: Sequence[str | Path],
    *,
    name: str | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run `argv` to completion; the last lines of its output (both streams). `on_line` receives each line.

    `name` is the command's name in errors (default: the program's). `environment` is added to this process's.
    A cancellation kills the whole process group and waits for its end.
    Raises BakeFailed with the last lines as evidence when the command fails or cannot be started, DiskFull when the
    lines say that no space is left.
    """
    command = [str(word) for word in argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(environment or {}), "LC_ALL": "C.UTF-8"},
            cwd=folder,
            start_new_session=True,
            limit=_LINE_BYTES,
        )
    except FileNotFoundError as error:
        raise BakeFailed(f"{command[0]} cannot be started: {error.strerror}") from error
    lines: deque[str] = deque(maxlen=20_000)
    try:
        await _converse(process, stdin, lines, on_line)
        code = await process.wait()
    finally:
        await _end(process)
    if code != 0:
        raise failure(name or Path(command[0]).name, code, list(lines)[-EVIDENCE_LINES:])
    return "\n".join(lines)


async def _converse(
    process: asyncio.subprocess.Process, stdin: str, lines: deque[str], on_line: Callable[[str], None] | None
) -> None:
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(stdin.encode())
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass  # The command ended before it read all of its input: its exit code is the result.
    process.stdin.close()
    while raw := await _line(process.stdout):
        line = raw.decode(errors="replace").rstrip()
        lines.append(line)
        if on_line is not None and line:
            on_line(line)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # asyncio drops a line beyond the limit.
        return b"(a line of more than a mebibyte)\n"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the rest of the process group at once: its files are in a folder that is removed."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def failure(name: str, code: int | None, tail: Sequence[str]) -> BakeFailed | DiskFull:
    """The error for the command `name` with exit code `code` (None: not known) and last lines `tail`."""
    evidence = {"output": "\n".join(tail)}
    if any(sign in line for line in tail for sign in _NO_SPACE):
        return DiskFull(f"no space left while {name} ran", evidence=evidence)
    end = "ended, its exit code is not known" if code is None else f"ended with exit code {code}"
    return BakeFailed(f"{name} {end}", evidence=evidence)
