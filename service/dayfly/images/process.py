"""Host commands of a bake: run to their end or ended with us, their last lines kept as evidence.

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
"""Put before a command that mounts or leaves processes behind: when `unshare` is killed, all of it is gone."""
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
    """Run `argv` to its end; what it printed (both streams, the last mebibyte of lines), with `on_line` for each line.

    `name` is what failures call it (else the program's), `environment` is added to ours.
    Cancelled, it kills the whole process group and waits for it.
    Raises BakeFailed with the last lines as evidence when it ends non-zero or cannot be started, DiskFull when
    they say so.
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
        pass  # It ended before it read everything: its exit code says more than the pipe.
    process.stdin.close()
    while raw := await _line(process.stdout):
        line = raw.decode(errors="replace").rstrip()
        lines.append(line)
        if on_line is not None and line:
            on_line(line)


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # A line beyond the limit: asyncio has dropped it.
        return b"(a line of more than a mebibyte)\n"


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the process group, at once: everything it writes lies in a folder that is thrown away."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def failure(name: str, code: int | None, tail: Sequence[str]) -> BakeFailed | DiskFull:
    """What `name`, which ended with `code` (None: not known) after it printed `tail`, is raised as."""
    evidence = {"output": "\n".join(tail)}
    if any(sign in line for line in tail for sign in _NO_SPACE):
        return DiskFull(f"no space left while {name} ran", evidence=evidence)
    how = "ended, its exit code is not known" if code is None else f"ended with exit code {code}"
    return BakeFailed(f"{name} {how}", evidence=evidence)
