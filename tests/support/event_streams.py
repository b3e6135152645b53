"""A response that is read while the application sends it: httpx's transport for ASGI waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from starlette.types import ASGIApp, Message

STREAM: Final = MappingProxyType({"Accept": "text/event-stream"})


@dataclass(frozen=True)
class Frame:
    """One server-sent event, as it is on the wire."""

    id: str | None = None
    data: str | None = None
    event: str | None = None
    retry: str | None = None
    comment: str | None = None

    @classmethod
    def of(cls, text: str) -> Frame:
        assert text.endswith("\n\n")
        fields: dict[str, str] = {}
        for line in text.removesuffix("\n\n").split("\n"):
            name, _, value = line.partition(": ")
            assert name not in fields, "a frame has one line of each kind"
            fields[name or "comment"] = value
        return cls(**fields)


@dataclass
class OpenStream:
    """`slow`: the application waits until each frame is read, as for a caller that does not read its connection."""

    app: ASGIApp
    path: str
    headers: Mapping[str, str]
    slow: bool = False
    _sent: asyncio.Queue[Message] = field(init=False)
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sent = asyncio.Queue(1 if self.slow else 0)

    async def run(self) -> None:
        path, _, query = self.path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1:8700")]
            + [(name.lower().encode(), value.encode()) for name, value in self.headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8700),
            "state": {},
        }
        received = False

        async def receive() -> Message:
            nonlocal received
            if not received:
                received = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._left.wait()
            return {"type": "http.disconnect"}

        await self.app(scope, receive, self._sent.put)

    async def begin(self) -> None:
        message = await self._sent.get()
        self.status = message["status"]
        self.response_headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}

    def leave(self) -> None:
        """As a caller that closes the connection."""
        self._left.set()

    async def frame(self) -> Frame | None:
        """The next frame; None: the response is complete."""
        text = b""
        while not text.endswith(b"\n\n"):
            message = await self._sent.get()
            text += message.get("body", b"")
            if not message.get("more_body", False):
                assert not text
                return None
        return Frame.of(text.decode())

    async def frames(self, count: int) -> list[Frame]:
        found = [await self.frame() for _ in range(count)]
        return [frame for frame in found if frame is not None]


@asynccontextmanager
async def open_stream(
    app: ASGIApp, path: str, headers: Mapping[str, str] = STREAM, *, slow: bool = False
) -> AsyncIterator[OpenStream]:
    """The stream, with its status and headers; at the end of the block the caller leaves."""
    stream = OpenStream(app, path, headers, slow)
    running = asyncio.create_task(stream.run())
    try:
        await stream.begin()
        yield stream
    finally:
        stream.leave()
        await running
