"""A container's output and files are read within bounds, whatever their size."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from dayfly.drivers.bounds import OUTPUT_BYTES
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.errors import CommandFailed
from tests.support.steps import busybox, cluster_id, container, engine, images, instance

__all__ = ["busybox", "engine", "images", "instance"]
pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("busybox")]

MEMORY_BYTES = 8 << 20
"""The memory that reading may take in this process. The files and logs are longer."""
FILL = "yes 'a line of the guest' | head -c 60000000"


async def until_ended(engine: DockerEngine, instance: str) -> None:
    async with asyncio.timeout(60):
        while {status.state for status in await engine.list_containers(cluster_id(instance))} == {"running"}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_command_that_floods_is_given_up(engine: DockerEngine, instance: str) -> None:
    node = container(instance, "net", role="net")
    await engine.ensure(node)
    with pytest.raises(CommandFailed, match="printed more than 1 MiB"):
        await engine.exec(node.name, ["sh", "-c", "yes"], timeout=30)


async def test_the_end_of_a_long_file_of_a_stopped_container(engine: DockerEngine, instance: str) -> None:
    node = container(instance, "net", "sh", "-c", f"({FILL}; echo end) >/console.log", role="net")
    await engine.ensure(node)
    await until_ended(engine, instance)
    tracemalloc.start()
    try:
        assert await engine.read_file(node.name, "/console.log", tail_bytes=16) == b"f the guest\nend\n"
        assert await engine.read_file(node.name, "/etc", tail_bytes=16) == b""
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


async def test_the_end_of_a_log_of_long_lines(engine: DockerEngine, instance: str) -> None:
    endless = "yes x | head -c 20000000 | tr -d '\\n'; echo; echo end"
    node = container(instance, "net", "sh", "-c", endless, role="net")
    await engine.ensure(node)
    await until_ended(engine, instance)
    tracemalloc.start()
    try:
        log = await engine.logs(node.name, tail_lines=100)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()
    assert log.endswith("x\nend\n")
    assert len(log) <= OUTPUT_BYTES
