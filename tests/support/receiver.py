"""A receiver of webhooks on 127.0.0.1: it keeps every call, and answers as the test says.

Signatures are computed here from the text of Standard Webhooks, without the library that signs.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

LOOPBACK = ("127.0.0.0/8", "::1/128")
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """One call."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed_with(self, secret: str) -> bool:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = b".".join((self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body))
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split()


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


@dataclass
class Receiver:
    """`answers`: bytes, or a function of the call and the writer, for the next calls; then `answer`."""

    port: int = 0
    answer: bytes = ANSWER
    answers: list[bytes] = field(default_factory=list)
    calls: list[Received] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """While it is not set, no call is answered."""
    at_once: int = 0
    most_at_once: int = 0
    write: Callable[[asyncio.StreamWriter], Any] | None = None
    """Writes the answer instead."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def until(self, count: int) -> list[Received]:
        """Until so many calls have arrived."""
        async with asyncio.timeout(20):
            while len(self.calls) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.calls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open[writer] = asyncio.current_task()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.calls.append(await _read(reader))
                self.arrived.set()
                if self.gate is not None:
                    await self.gate.wait()
                if self.write is not None:
                    await self.write(writer)
                else:
                    writer.write(self.answers.pop(0) if self.answers else self.answer)
                await writer.drain()
        finally:
            self.at_once -= 1
            del self.open[writer]
            writer.close()

    async def close(self) -> None:
        """Cut off every call."""
        tasks = [task for task in self.open.values() if task is not None]
        for writer in self.open:
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, port: int = 0, **options: Any) -> AsyncIterator[Receiver]:
    """A receiver that listens within the block."""
    receiver = Receiver(**options)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port, ssl=tls, reuse_address=True)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await receiver.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Received(first.split()[1], headers, await reader.readexactly(int(headers["content-length"])))
