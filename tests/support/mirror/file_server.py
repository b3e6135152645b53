"""Serves a folder over HTTP, as mirrors do: byte ranges, ETag, and the faults that a test asks for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvicorn
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

_END_SECONDS: Final = 10


@dataclass(frozen=True)
class Asked:
    """A request: its path, and its Range header."""

    path: str
    range: str | None


@dataclass
class FileServer:
    """A server of `root`. A test may change `missing` and `dies_after` while the server runs.

    `missing`: paths that are answered with 404. `dies_after`: path → bytes of the body, after which the server closes
    the connection.
    """

    root: Path
    url: str = ""
    missing: set[str] = field(default_factory=set)
    dies_after: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].lstrip("/")
        self.asked.append(Asked(path, Request(scope).headers.get("range")))
        file = self.root / path
        if path in self.missing or ".." in Path(path).parts or not file.is_file():
            await PlainTextResponse("not found\n", status_code=404)(scope, receive, send)
            return
        if path in self.dies_after:
            send = _dying(send, self.dies_after[path])
        await FileResponse(file)(scope, receive, send)


@contextmanager
def file_server(root: Path, *, host: str = "127.0.0.1") -> Iterator[FileServer]:
    """A server of `root` on a free port of `host`, until the end of the block."""
    files = FileServer(root)
    server = uvicorn.Server(uvicorn.Config(files, log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
    with socket.create_server((host, 0)) as listening:
        files.url = f"http://{host}:{listening.getsockname()[1]}"
        serving = threading.Thread(target=server.run, args=([listening],))
        serving.start()
        try:
            yield files
        finally:
            server.should_exit = True
            serving.join(_END_SECONDS)
            assert not serving.is_alive(), f"the server of {root} has not ended"


class _Died(Exception):
    """Ends a response: uvicorn closes the connection."""


def _dying(send: Send, limit: int) -> Send:
    left = limit

    async def dying(message: Message) -> None:
        nonlocal left
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            if len(body) > left:
                await send({"type": message["type"], "body": body[:left], "more_body": True})
                raise _Died
            left -= len(body)
        await send(message)

    return dying
