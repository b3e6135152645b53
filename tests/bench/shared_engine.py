"""One fake engine for several processes: one process has the engine, the others call it over a unix socket.

All workers of a benchmark see the same containers, as on a real host. Messages are pickles after their length: both
ends are trusted, and the socket is in a private folder. Not here: the processes (fleet.py).
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from dayfly.drivers.interfaces import EngineEvent, EngineInfo
from dayfly.errors import EngineUnavailable
from dayfly.testing.fakes import FakeEngine, FakeMachines

CALLS = frozenset(
    {"ensure", "list_containers", "list_resources", "discard", "stop", "wait_exit", "remove", "exec", "logs",
     "read_file", "endpoints", "info"}
)  # fmt: skip
MACHINE_CALLS = frozenset(
    {"status", "pause", "resume", "save", "size_so_far", "saved", "discard", "load", "set_clock", "run", "read",
     "memory"}
)  # fmt: skip
_MACHINES = "machines."
_LENGTH = struct.Struct("!I")
_DONE, _RAISED, _ITEM = "done", "raised", "item"
VAST = EngineInfo("20.10.0", "6.1.0", 10**6, 1 << 50, "overlay2", 2, "systemd", "/var/lib/docker", True)
"""A host on which no request waits for capacity."""


async def serve_engine(path: Path, instance: str) -> None:
    """Until cancelled."""
    engine = FakeEngine(instance=instance)
    engine.host = VAST

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Peer(engine, writer).serve(reader)

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        await server.serve_forever()


class _Peer:
    """One process that calls."""

    def __init__(self, engine: FakeEngine, writer: asyncio.StreamWriter) -> None:
        self._engine, self._machines, self._writer = engine, FakeMachines(engine), writer
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        try:
            while (message := await _read(reader)) is not None:
                number, method, args, kwargs = message
                if method == "cancel":
                    if (running := self._calls.get(number)) is not None:
                        running.cancel()
                    continue
                self._calls[number] = asyncio.create_task(self._answer(number, self._begin(method, args, kwargs)))
        finally:
            for running in tuple(self._calls.values()):
                running.cancel()
            self._writer.close()

    def _begin(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Called here, not in the task: a subscriber that then lists the containers misses no event.
        if method.startswith(_MACHINES):
            return getattr(self._machines, method.removeprefix(_MACHINES))(*args, **kwargs)
        return getattr(self._engine, method)(*args, **kwargs)

    async def _answer(self, number: int, begun: Any) -> None:
        try:
            if isinstance(begun, AsyncIterator):
                async for item in begun:
                    _write(self._writer, (number, _ITEM, item))
            else:
                _write(self._writer, (number, _DONE, await begun))
        except Exception as error:  # whatever it is, it is the caller's
            _write(self._writer, (number, _RAISED, error))
        finally:
            del self._calls[number]


class RemoteEngine:
    """A ContainerEngine that forwards calls to the engine's process. It lacks `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, Callable[[str, Any], None]] = {}
        self._number = 0
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def connect(cls, path: Path) -> RemoteEngine:
        return cls(*await asyncio.open_unix_connection(path))

    def __getattr__(self, name: str) -> Any:
        if name not in CALLS:
            raise AttributeError(name)
        return partial(self._call, name)

    @property
    def machines(self) -> RemoteMachines:
        """The machines in its containers."""
        return RemoteMachines(self)

    def events(self, cluster_id: str | None = None) -> AsyncIterator[EngineEvent]:
        inbox: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._send(lambda kind, value: inbox.put_nowait((kind, value)), "events", (cluster_id,))
        return self._follow(inbox)

    async def close(self) -> None:
        self._listening.cancel()
        self._writer.close()

    async def _follow(self, inbox: asyncio.Queue[tuple[str, Any]]) -> AsyncIterator[EngineEvent]:
        while True:
            kind, value = await inbox.get()
            if kind != _ITEM:
                raise value
            yield value

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(kind: str, value: Any) -> None:
            if answer.done():
                return
            if kind == _DONE:
                answer.set_result(value)
            else:
                answer.set_exception(value)

        number = self._send(settle, method, args, kwargs)
        try:
            return await answer
        except asyncio.CancelledError:
            _write(self._writer, (number, "cancel", (), {}))
            raise
        finally:
            del self._waiting[number]

    def _send(
        self, hear: Callable[[str, Any], None], method: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> int:
        self._number += 1
        self._waiting[self._number] = hear
        _write(self._writer, (self._number, method, args, kwargs or {}))
        return self._number

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while (message := await _read(reader)) is not None:
            number, kind, value = message
            if number in self._waiting:
                self._waiting[number](kind, value)
        for hear in tuple(self._waiting.values()):
            hear(_RAISED, EngineUnavailable("the process that has the engine ended"))


class RemoteMachines:
    """The Machines of a RemoteEngine."""

    def __init__(self, engine: RemoteEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        if name not in MACHINE_CALLS:
            raise AttributeError(name)
        return partial(self._engine._call, f"{_MACHINES}{name}")

    async def load(self, *args: Any, then: Callable[[], Awaitable[None]] | None = None, **kwargs: Any) -> None:
        """In three calls: what comes between is of this process."""
        await self._engine._call(f"{_MACHINES}load", *args, **kwargs)
        if then is not None:
            await then()
            await self.resume(args[0])


def _write(writer: asyncio.StreamWriter, message: object) -> None:
    content = pickle.dumps(message)
    writer.write(_LENGTH.pack(len(content)) + content)


async def _read(reader: asyncio.StreamReader) -> Any:
    """None at the end."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return pickle.loads(await reader.readexactly(length))  # noqa: S301 - from our own process
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None
