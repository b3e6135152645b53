"""QMP sessions with FakeEngine's machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.drivers.interfaces import ByteStream
from dayfly.drivers.qemu.qmp import qmp
from dayfly.errors import CommandFailed, ContainerExited, EngineUnavailable, VmExited
from dayfly.testing.fakes import FakeEngine
from tests.support.played_qemu import Qemu, Session
from tests.support.specs import make_spec

NODE = "dayfly-c1-node01"


@pytest.fixture
async def engine() -> FakeEngine:
    made = FakeEngine()
    topology = compute_topology("c1", make_spec(), instance="default", accelerator="tcg", publication=Publication())
    await made.ensure(topology.net)
    await made.ensure(topology.node(1))
    return made


@pytest.mark.parametrize("status", ["running", "paused"])
async def test_tells_how_the_machine_is(engine: FakeEngine, status: str) -> None:
    engine.containers[NODE].vm_status = status

    async with qmp(engine, NODE) as session:
        assert await session.status() == status
        assert await session.status() == status


async def test_a_command_that_qemu_refuses(engine: FakeEngine) -> None:
    async with qmp(engine, NODE) as session:
        with pytest.raises(CommandFailed, match="no-such-command"):
            await session.execute("no-such-command")
        assert await session.status() == "running"


async def test_a_container_that_does_not_run(engine: FakeEngine) -> None:
    engine.exit(NODE)

    with pytest.raises(ContainerExited):
        async with qmp(engine, NODE):
            pytest.fail("there is nobody to talk to")


async def test_errors_of_the_block_come_through_as_they_are(engine: FakeEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with qmp(engine, NODE):
            1 / 0  # noqa: B018


async def test_a_session_that_is_given_up_leaves_no_socket_open(engine: FakeEngine) -> None:
    async def session() -> None:
        async with qmp(engine, NODE) as session:
            await session.status()

    given_up = []
    for turns in range(1000):
        before = _open_files()
        task = asyncio.create_task(session())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)  # transports close their sockets a turn later
        # Keep the task: its traceback holds open objects, which garbage collection would close.
        given_up.append(task)
        assert _open_files() == before, f"given up after {turns} turns"
    await task
    assert len(given_up) > 10


def _open_files() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


class _Ends:
    """A stream that ends at once, like socat's without a listener on the socket."""

    async def read(self) -> bytes:
        return b""

    async def write(self, data: bytes) -> None:
        return


class _Breaks(_Ends):
    """A stream over an engine that went away."""

    async def read(self) -> bytes:
        raise EngineUnavailable("gone")


@pytest.mark.parametrize(("stream", "kind"), [(_Ends(), VmExited), (_Breaks(), EngineUnavailable)])
async def test_a_session_that_never_begins(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, stream: ByteStream, kind: type[Exception]
) -> None:
    @asynccontextmanager
    async def broken(name: str, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        yield stream

    monkeypatch.setattr(engine, "open", broken)

    with pytest.raises(kind):
        async with qmp(engine, NODE, timeout=5):
            pytest.fail("nobody answered")


class _Hostile(Session):
    """A QEMU that its guest has taken over: it answers a query with `line`."""

    def __init__(self, line: bytes) -> None:
        super().__init__(Qemu(Path()))
        self._line = line

    async def write(self, data: bytes) -> None:
        if b"query-status" in data:
            self._out.put_nowait(self._line.replace(b"ID", json.dumps(json.loads(data)["id"]).encode()) + b"\n")
        else:
            await super().write(data)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"return": ' + b"9" * 5000 + b', "id": ID}',
        b"x" * 11_000_000,
        b"\xff\xfe",
        b"7",
        b'{"return": {}, "id": ID}',
        b'{"return": [], "id": ID}',
        b'{"return": {"status": ' + b"[" * 300 + b"]" * 300 + b'}, "id": ID}',
        b'{"error": {"class": [1], "desc": [2]}, "id": ID}',
    ],
    ids=["deep", "number", "long", "no text", "no object", "empty", "list", "nested", "error"],
)
async def test_an_answer_of_another_form_is_no_defect(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    @asynccontextmanager
    async def hostile(name: str, argv: Sequence[str]) -> AsyncIterator[ByteStream]:
        yield _Hostile(line)

    monkeypatch.setattr(engine, "open", hostile)
    with pytest.raises((VmExited, CommandFailed)):
        async with qmp(engine, NODE, timeout=5) as session:
            await session.status()
