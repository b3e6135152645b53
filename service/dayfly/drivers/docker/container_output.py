"""The ends of a container's log and of its files, read piece by piece: a guest decides how long they are."""

from __future__ import annotations

import asyncio
import struct
import tarfile
from collections.abc import Mapping
from typing import Final

from aiodocker import Docker
from aiohttp import ClientResponse

from dayfly.drivers.bounds import OUTPUT_BYTES, Tail

_PIECE_BYTES: Final = 64 * 1024
_EXTENSIONS: Final = frozenset({tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE})
"""Entries that describe the next one: its long name, its time."""
_FRAME: Final = struct.Struct(">BxxxL")
"""The engine's header before each piece of a log: its stream and its length."""
_STDERR: Final = 2
"""The number of the stream in such a header."""


async def log_end(docker: Docker, name: str, *, lines: int) -> str:
    """At most OUTPUT_BYTES of the last `lines` of a container's log. Raises DockerError."""
    kept = Tail(OUTPUT_BYTES)
    await _read_log(docker, name, {"tail": str(lines)}, stdout=kept, stderr=kept)
    return kept.content().decode(errors="replace")


async def output_ends(docker: Docker, name: str) -> tuple[bytes, bytes]:
    """At most OUTPUT_BYTES of the ends of a container's stdout and stderr. Raises DockerError."""
    stdout, stderr = Tail(OUTPUT_BYTES), Tail(OUTPUT_BYTES)
    await _read_log(docker, name, {}, stdout=stdout, stderr=stderr)
    return stdout.content(), stderr.content()


async def file_end(docker: Docker, name: str, path: str, *, tail_bytes: int) -> bytes:
    """The last bytes of a regular file in a container that need not run; b"" of anything else. Raises DockerError."""
    kept = Tail(tail_bytes)
    async with docker._query(f"containers/{name}/archive", params={"path": path}) as response:  # noqa: SLF001
        while header := await _exactly(response, tarfile.BLOCKSIZE):
            try:
                entry = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            except tarfile.HeaderError:
                break
            if entry.type not in _EXTENSIONS:
                await _into(kept, response, entry.size if entry.isreg() else 0)
                break
            padded = -(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            await _into(Tail(0), response, padded)
    return kept.content()


async def _read_log(docker: Docker, name: str, params: Mapping[str, str], *, stdout: Tail, stderr: Tail) -> None:
    both = {"stdout": "1", "stderr": "1", **params}
    async with docker._query(f"containers/{name}/logs", params=both) as response:  # noqa: SLF001
        while header := await _exactly(response, _FRAME.size):
            stream, length = _FRAME.unpack(header)
            await _into(stderr if stream == _STDERR else stdout, response, length)


async def _exactly(response: ClientResponse, count: int) -> bytes:
    """b"" where the stream ends before that."""
    try:
        return await response.content.readexactly(count)
    except asyncio.IncompleteReadError:
        return b""


async def _into(kept: Tail, response: ClientResponse, length: int) -> None:
    while length > 0 and (piece := await response.content.read(min(length, _PIECE_BYTES))):
        kept.add(piece)
        length -= len(piece)
