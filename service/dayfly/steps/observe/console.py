"""The serial console of a node: its past output, and a stream of new output."""

from __future__ import annotations

from collections.abc import AsyncIterator

from dayfly.domain.cluster import naming, qemu_cmdline
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import ContainerExited, ContainerRemoved


async def read_console(engine: ContainerEngine, cluster_id: str, node: str, tail_bytes: int) -> bytes:
    """The last `tail_bytes` of the node's console output; b"" if there is none."""
    return await engine.read_file(
        naming.container_name(cluster_id, node), qemu_cmdline.CONSOLE_LOG, tail_bytes=tail_bytes
    )


async def follow_console(engine: ContainerEngine, cluster_id: str, node: str) -> AsyncIterator[bytes]:
    """New console output, until the node ends."""
    connect = ["socat", "-", f"UNIX-CONNECT:{qemu_cmdline.CONSOLE_SOCKET}"]
    try:
        async with engine.open(naming.container_name(cluster_id, node), connect) as stream:
            while chunk := await stream.read():
                yield chunk
    except (ContainerExited, ContainerRemoved):
        return  # the node does not run: it prints nothing more
