"""QEMU's end of a QMP session, as far as Dayfly uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any


class FakeQmpStream:
    """A ByteStream that greets, negotiates, and answers query-status and quit; everything else it refuses."""

    def __init__(self, status: Callable[[], str], quit_machine: Callable[[], None]) -> None:
        self._status = status
        self._quit = quit_machine
        self._received = b""
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        version = {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}
        self._send({"QMP": {"version": version, "capabilities": []}})

    async def read(self) -> bytes:
        return await self._out.get()

    async def write(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        # A client may leave out the line's end: what parses is a command.
        if self._received and _parses(self._received):
            lines, self._received = [*lines, self._received], b""
        for line in filter(bytes.strip, lines):
            self._answer(json.loads(line))

    def _answer(self, asked: dict[str, Any]) -> None:
        match asked["execute"]:
            case "qmp_capabilities":
                self._send({"return": {}}, asked)
            case "query-status":
                self._send({"return": {"status": self._status(), "running": self._status() == "running"}}, asked)
            case "quit":
                self._send({"return": {}}, asked)
                self._out.put_nowait(b"")
                self._quit()
            case other:
                told = {"class": "CommandNotFound", "desc": f"The command {other} has not been found"}
                self._send({"error": told}, asked)

    def _send(self, message: dict[str, Any], asked: dict[str, Any] | None = None) -> None:
        identity = {"id": asked["id"]} if asked and "id" in asked else {}
        self._out.put_nowait(json.dumps(message | identity).encode() + b"\n")


def _parses(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
