"""The serial console of a node: what it printed, and what it prints from now on."""

from __future__ import annotations

from collections.abc import AsyncIterator

from dayfly.domain.cluster import naming, qemu_cmdline
from dayfly.drivers.interfaces import ContainerEngine


async def read_console(engine: ContainerEngine, cluster_id: str, node: str, tail_bytes: int) -> bytes:
    """The last `tail_bytes` of what the node's console printed; b"" where nothing is (yet, or any more)."""
    return await engine.read_file(
        naming.container_name(cluster_id, node), qemu_cmdline.CONSOLE_LOG, tail_bytes=tail_bytes
    )


async def follow_console(engine: ContainerEngine, cluster_id: str, node: str) -> AsyncIterator[bytes]:
    """What the console prints from now on, as it comes; ends when the node does."""
    connect = ["socat", "-", f"UNIX-CONNECT:{qemu_cmdline.CONSOLE_SOCKET}"]
    async with engine.open(naming.container_name(cluster_id, node), connect) as stream:
        while chunk := await stream.read():
            yield chunk
