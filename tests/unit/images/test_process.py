"""Host commands: their evidence, and their end when Dayfly is cancelled."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dayfly.errors import BakeFailed, DiskFull
from dayfly.images.process import run


async def test_both_streams_are_heard_line_by_line() -> None:
    heard: list[str] = []
    printed = await run(["sh", "-c", "echo one; echo two >&2; cat"], stdin="three\n", on_line=heard.append)
    assert heard == printed.splitlines() == ["one", "two", "three"]


async def test_a_failure_keeps_the_last_lines() -> None:
    with pytest.raises(BakeFailed, match="tool ended with exit code 3") as caught:
        await run(["sh", "-c", "seq 1 500; echo the reason >&2; exit 3"], name="tool")
    lines = caught.value.evidence["output"].splitlines()
    assert lines[-2:] == ["500", "the reason"]
    assert len(lines) < 100


async def test_a_full_disk_is_called_by_its_name() -> None:
    with pytest.raises(DiskFull):
        await run(["sh", "-c", "echo 'cp: write error: No space left on device'; exit 1"])


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(BakeFailed, match="no-such-program cannot be started"):
        await run(["no-such-program"])


async def test_input_that_nobody_reads_is_no_failure() -> None:
    assert await run(["true"], stdin="x" * 1_000_000) == ""


async def test_an_endless_line_does_not_end_the_bake() -> None:
    assert "done" in await run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo done"])


async def test_interrupted_it_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    heard = asyncio.Event()
    script = f"sleep 600 & echo $! >> {pids}; sh -c 'echo $$ >> {pids}; echo up; trap \"\" TERM; sleep 600'"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(["sh", "-c", script], on_line=lambda _: heard.set()))
        await heard.wait()
        task.cancel()
    # run() sent SIGKILL before it returned; the kernel may take a moment to end a grandchild.
    for _ in range(1000):
        if not any(_runs(int(pid)) for pid in pids.read_text().split()):
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail("something of the group goes on")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie does not run.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
