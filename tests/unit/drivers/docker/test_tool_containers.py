"""Engines that cannot run a bake's container. Not here: engines that can (tests/integration/drivers)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiodocker.containers import DockerContainer
from aiodocker.stream import Message, Stream

from dayfly.drivers.bounds import OUTPUT_BYTES
from dayfly.drivers.docker.tool_containers import DockerToolRun, DockerTools
from dayfly.drivers.interfaces import ToolContainer
from dayfly.errors import BakeFailed, EngineUnavailable

TOOL = ToolContainer(image="debian:1", command=("true",), capabilities=())


async def run(tools: DockerTools) -> None:
    async with tools.run(TOOL):
        pass


async def test_a_rootless_engine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def info() -> dict[str, object]:
        return {"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]}

    tools = DockerTools()
    engine = SimpleNamespace(system=SimpleNamespace(info=info))
    monkeypatch.setattr(tools, "_client", SimpleNamespace(get=lambda: engine, socket=Path("/run/docker.sock")))
    with pytest.raises(BakeFailed, match=r"this engine is rootless"):
        await run(tools)


async def test_an_engine_of_another_host_is_said() -> None:
    tools = DockerTools("tcp://192.0.2.1:2375")
    with pytest.raises(BakeFailed, match=r"socket on this host.*bake on the engine's host"):
        await run(tools)
    await tools.aclose()


async def test_an_engine_that_does_not_answer_is_said(tmp_path: Path) -> None:
    tools = DockerTools(f"unix://{tmp_path}/none.sock")
    with pytest.raises(EngineUnavailable):
        await run(tools)
    await tools.aclose()


class _Output:
    """The output of a container: pieces of (stream, data)."""

    def __init__(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        self._pieces = iter(pieces)

    async def read_out(self) -> Message | None:
        piece = next(self._pieces, None)
        return None if piece is None else Message(*piece)


async def test_lines_are_put_together_and_have_a_bounded_length() -> None:
    endless = ((2, b"x" * 4096) for _ in range(8192))
    pieces = [(1, b"on"), (2, b"err"), (1, b"e\r\ntwo\nrest"), (2, b"or\n"), *endless, (2, b"\nlast\n")]
    run = DockerToolRun(cast("DockerContainer", SimpleNamespace(id="c")), cast("Stream", _Output(pieces)))
    lines = [(line.stream, line.text) async for line in run.lines()]
    long = ("stderr", "x" * OUTPUT_BYTES)
    assert lines == [
        ("stdout", "one"),
        ("stdout", "two"),
        ("stderr", "error"),
        long,
        ("stderr", "last"),
        ("stdout", "rest"),
    ]
