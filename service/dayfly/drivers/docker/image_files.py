"""Reads a folder of files out of an image, without running it. Not here: how files get there (image_build.py)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from aiodocker import Docker
from aiohttp import ClientTimeout

from dayfly.errors import BakeFailed, DiskFull

_SILENCE_SECONDS: Final = 1800.0
_CHUNK_BYTES: Final = 1 << 20


async def unpack(docker: Docker, container: str, path: str, folder: Path, doing: str) -> None:
    """Unpack `path` of a container that need not run below `folder`. Raises BakeFailed, DiskFull, DockerError."""
    tar = await asyncio.create_subprocess_exec(
        *(
            "tar",
            "--extract",
            "--no-same-owner",
            "--no-same-permissions",
            "--sparse",
            f"--directory={folder}",
            "--file=-",
        ),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tar.stdin is not None  # noqa: S101 (for the type checker: it is a pipe)
    assert tar.stderr is not None  # noqa: S101
    try:
        async with docker._query(  # noqa: SLF001
            f"containers/{container}/archive",
            params={"path": path},
            timeout=ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
        ) as response:
            try:
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    tar.stdin.write(chunk)
                    await tar.stdin.drain()
                tar.stdin.close()
            except (BrokenPipeError, ConnectionResetError):
                pass  # tar ended early: its exit code and its message are the reason.
            stderr = (await tar.stderr.read()).decode(errors="replace")
            if await tar.wait() != 0:
                kind = DiskFull if "No space left on device" in stderr else BakeFailed
                raise kind(f"{doing} failed", evidence={"stderr": stderr})
    finally:
        if tar.returncode is None:
            tar.kill()
            await tar.wait()
