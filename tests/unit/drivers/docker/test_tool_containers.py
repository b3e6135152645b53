"""Engines that cannot run a bake's container. Not here: engines that can (tests/integration/drivers)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dayfly.drivers.docker.tool_containers import DockerTools
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
