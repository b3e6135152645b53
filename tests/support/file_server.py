"""A real HTTP server of one file on the loopback address, which fails in the ways that a test lists. Knows ranges.

Not here: TLS and redirects, which tests play with httpx.MockTransport.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    `cut`: the connection ends after so many bytes of the body. `status`: instead of the file. `ignores_range`: the
    whole file, as a server without ranges. `shift`: a range that begins so many bytes later than asked for. `most`: a
    range of at most so many bytes.
    """

    cut: int | None = None
    status: int | None = None
    ignores_range: bool = False
    shift: int = 0
    most: int | None = None


WELL = Answer()


@dataclass
class FileServer:
    """`answers` are used one after the other, then WELL. `requests` has the headers of each request."""

    content: bytes
    etag: str = '"one"'
    answers: list[Answer] = field(default_factory=list)
    requests: list[Mapping[str, str]] = field(default_factory=list)
    url: str = ""
    other: dict[str, bytes] = field(default_factory=dict)
    """Other files by path: always well."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FileServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/images/disk.qcow2"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    @property
    def ranges(self) -> list[str]:
        """The range of each request, empty for the whole file."""
        return [request.get("range", "") for request in self.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
            path = line.split()[1]
            if (other := self.other.get(path)) is not None:
                writer.write(_head(200, {"Content-Length": str(len(other))}) + other)
            else:
                self.requests.append(headers)
                writer.writelines(self._file(headers, self.answers.pop(0) if self.answers else WELL))
            await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _file(self, headers: Mapping[str, str], answer: Answer) -> Iterator[bytes]:
        if answer.status is not None:
            yield _head(answer.status, {"Content-Length": "0"})
            return
        size = len(self.content)
        found = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if not found or answer.ignores_range or headers.get("if-range", self.etag) != self.etag:
            start, end, status, extra = 0, size, 200, {}
        elif int(found[1]) >= size:
            yield _head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
            return
        else:
            start, status = int(found[1]) + answer.shift, 206
            end = size if answer.most is None else min(size, start + answer.most)
            extra = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
        if self.etag:
            extra["ETag"] = self.etag
        yield _head(status, {"Content-Length": str(end - start), **extra})
        yield self.content[start : end if answer.cut is None else start + answer.cut]


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nConnection: close\r\n{lines}\r\n".encode()
