"""DockerTools against a real engine: a program's input and output, and complete removal."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.docker.tool_containers import DockerTools
from dayfly.drivers.interfaces import File, ToolContainer
from dayfly.errors import BakeFailed, EngineRefused, ImageMissing
from tests.support.service import docker
from tests.support.steps import busybox, images

__all__ = ["busybox", "images"]
pytestmark = pytest.mark.docker


@pytest.fixture
async def tools() -> AsyncIterator[DockerTools]:
    tools = DockerTools()
    yield tools
    await tools.aclose()


@pytest.fixture
def left(busybox: str) -> Iterator[None]:
    """Nothing that a test starts is there when it ends."""
    yield
    assert containers_of(busybox) == ""


def containers_of(image: str) -> str:
    return docker("ps", "--all", "--filter", "label=dayfly.role=bake", "--filter", f"ancestor={image}", "--quiet")


async def fail_within(tools: DockerTools, tool: ToolContainer) -> None:
    async with tools.run(tool) as run:
        assert (await anext(run.lines())).text == "started"
        raise RuntimeError("the caller fails")


def shell(image: str, script: str, **more: object) -> ToolContainer:
    return ToolContainer(image=image, command=("sh", "-c", script), capabilities=(), **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("left")
async def test_a_program_has_what_it_was_given_and_its_lines_come_back(
    tools: DockerTools, busybox: str, tmp_path: Path
) -> None:
    (tmp_path / "wheel").write_text("a wheel")
    tool = shell(
        busybox,
        f"cat /opt/in/file; echo $GREETING; cat {tmp_path}/wheel; echo; echo no > {tmp_path}/wheel || echo refused; "
        "echo oops >&2; echo -n unfinished; exit 3",
        files=(File("/opt/in/file", b"content\n", 0o644),),
        environment={"GREETING": "hello"},
        folders=(tmp_path,),
    )
    async with tools.run(tool) as run:
        lines = [line async for line in run.lines()]
        code = await run.exit_code()
    out = [line.text for line in lines if line.stream == "stdout"]
    assert out == ["content", "hello", "a wheel", "refused", "unfinished"]
    assert "oops" in [line.text for line in lines if line.stream == "stderr"]
    assert code in {3, None}, "an engine may have forgotten it already"


@pytest.mark.usefixtures("left")
async def test_a_program_may_no_more_than_it_was_allowed(tools: DockerTools, busybox: str) -> None:
    script = "grep -e CapEff -e CapBnd -e NoNewPrivs -e Seccomp: /proc/self/status"
    async with tools.run(shell(busybox, script)) as run:
        lines = [line.text.split() for line in [line async for line in run.lines()]]
    assert lines == [
        ["CapEff:", "0" * 16],
        ["CapBnd:", "0" * 16],
        ["NoNewPrivs:", "1"],
        ["Seccomp:", "2"],
    ]


@pytest.mark.usefixtures("left")
async def test_the_engines_socket_is_there_when_it_is_asked_for(tools: DockerTools, busybox: str) -> None:
    script = "[ -S /run/dayfly/engine.sock ] && echo there"
    async with tools.run(shell(busybox, script, engine_socket="/run/dayfly/engine.sock")) as run:
        assert [line.text async for line in run.lines()] == ["there"]


@pytest.mark.usefixtures("left")
async def test_a_program_whose_caller_leaves_may_clean_up(tools: DockerTools, busybox: str, tmp_path: Path) -> None:
    volume = f"dayfly-test-{secrets.token_hex(4)}"
    # The script notices the end of its input, and writes a file to the volume.
    script = "echo started; cat; sleep 1; echo clean > /data/end"
    try:
        with pytest.raises(RuntimeError, match="the caller fails"):
            await fail_within(tools, shell(busybox, script, volumes={volume: "/data"}, grace_seconds=30.0))
        async with tools.run(shell(busybox, "cat /data/end", volumes={volume: "/data"})) as run:
            assert [line.text async for line in run.lines()] == ["clean"]
    finally:
        docker("volume", "rm", "--force", volume)


@pytest.mark.usefixtures("left")
async def test_a_cancelled_caller_leaves_nothing(tools: DockerTools, busybox: str) -> None:
    started = asyncio.Event()

    async def wait_for_ever() -> None:
        async with tools.run(shell(busybox, "echo started; sleep 600")) as run:
            async for _ in run.lines():
                started.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        task = group.create_task(wait_for_ever())
        await started.wait()
        assert containers_of(busybox) != ""
        task.cancel()
    assert task.cancelled()


@pytest.mark.usefixtures("left")
def test_a_program_ends_with_a_caller_that_is_killed(busybox: str) -> None:
    program = textwrap.dedent(f"""
        import asyncio
        from dayfly.drivers.docker.tool_containers import DockerTools
        from dayfly.drivers.interfaces import ToolContainer

        async def main():
            tool = ToolContainer(image={busybox!r}, command=("sh", "-c", "echo started; cat"), capabilities=())
            async with DockerTools().run(tool) as run:
                async for line in run.lines():
                    print(line.text, flush=True)

        asyncio.run(main())
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "started\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
    deadline = time.monotonic() + 30
    while containers_of(busybox):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.usefixtures("left")
async def test_an_image_of_a_container_has_its_files_and_the_labels_that_were_asked_for(
    tools: DockerTools, images: DockerImages, busybox: str
) -> None:
    reference = f"dayfly-test/{secrets.token_hex(4)}:baker"
    script = "echo made > /made; echo ready; cat"
    try:
        async with tools.run(shell(busybox, script)) as run:
            assert (await anext(run.lines())).text == "ready"
            made = await run.commit(reference, labels={"dayfly.baker": "1"})
        found = await images.inspect(reference)
        assert found.id == made
        assert found.labels["dayfly.baker"] == "1"
        async with tools.run(shell(reference, "cat /made")) as run:
            assert [line.text async for line in run.lines()] == ["made"]
    finally:
        await images.remove(reference)


@pytest.mark.usefixtures("left")
async def test_what_cannot_be_run_is_said(tools: DockerTools, busybox: str) -> None:
    with pytest.raises(ImageMissing):
        async with tools.run(shell("dayfly-test/none:1", "true")):
            pass
    with pytest.raises(EngineRefused) as refused:
        async with tools.run(ToolContainer(image=busybox, command=("no-such-program",), capabilities=())):
            pass
    assert "no-such-program" in refused.value.operator_detail


async def test_an_engine_of_another_host_is_said() -> None:
    tools = DockerTools("tcp://192.0.2.1:2375")
    with pytest.raises(BakeFailed, match=r"socket on this host.*bake on the engine's host"):
        async with tools.run(shell("any", "true")):
            pass
    await tools.aclose()
