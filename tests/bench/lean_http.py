"""A minimal HTTP/1.1 client for benchmarks: on two cores the client's own work must not distort the results.

One open connection, one request at a time. Only for Dayfly's API on loopback.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """`headers`: their names in lower case. `seconds`: from the first byte sent to the last byte received."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to 127.0.0.1."""

    def __init__(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._port, self._reader, self._writer = port, reader, writer

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        expect: int | tuple[int, ...] = 200,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Answer:
        """Raises RuntimeError for any status that is not in `expect`."""
        request = encoded(self._port, method, path, body, headers or {})
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            self._writer.write(request)
            status, answered, content = await self._answer()
        answer = Answer(status, answered, content, time.monotonic() - began)
        if status not in (expect if isinstance(expect, tuple) else (expect,)):
            raise RuntimeError(f"{method} {path}: {status} {content.decode(errors='replace')[:500]}")
        return answer

    async def _answer(self) -> tuple[int, Mapping[str, str], bytes]:
        status, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        return int(status.split()[1]), headers, await self._reader.readexactly(int(headers["content-length"]))


def encoded(port: int, method: str, path: str, body: object, headers: Mapping[str, str]) -> bytes:
    """A whole request, as it is sent."""
    content = b"" if body is None else json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n{more}\r\n"
    )
    return head.encode() + content


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(port, reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
