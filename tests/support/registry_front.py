"""A server in front of a registry: counts the bytes of layers, asks for a login, cuts a transfer off once."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, ClientTimeout, web
from multidict import CIMultiDict, CIMultiDictProxy

_CHUNK_BYTES: Final = 1 << 16
_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


@dataclass
class Front:
    """`pushed` and `pulled`: bytes of layers that passed. `login`: `user:password` that every request needs.

    `cut_after`: the connection of the next layer ends after so many bytes, once.
    """

    registry: str
    port: int = 0
    pushed: int = 0
    pulled: int = 0
    login: str | None = None
    cut_after: int | None = None
    cuts: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.login is not None and request.headers.get("Authorization") != _basic(self.login):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'}, text="{}")
        headers = _passed_on(request.headers)
        is_upload = request.method in {"PATCH", "PUT"} and "/blobs/uploads/" in request.path
        body = self._counted(request) if is_upload else await request.read()
        url = f"http://{self.registry}{request.raw_path}"
        async with (
            ClientSession(auto_decompress=False, timeout=ClientTimeout(total=60)) as session,
            # The registry writes the address of uploads as it is asked: with this server's.
            session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer,
        ):
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
            if (length := answer.headers.get("Content-Length")) is not None:
                response.content_length = int(length)
            await response.prepare(request)
            is_layer = request.method == "GET" and "/blobs/sha256:" in request.path
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                if is_layer:
                    self.pulled += len(chunk)
                    self._cut(request, self.pulled)
                await response.write(chunk)
            await response.write_eof()
            return response

    async def _counted(self, request: web.Request) -> AsyncIterator[bytes]:
        async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
            self.pushed += len(chunk)
            self._cut(request, self.pushed)
            yield chunk

    def _cut(self, request: web.Request, passed: int) -> None:
        if self.cut_after is not None and passed > self.cut_after:
            self.cut_after = None
            self.cuts += 1
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError("cut off by the test")


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """With those that are given several times: an engine names each type of manifest in one of its own."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP)


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


@asynccontextmanager
async def registry_front(registry: str, socket: Path) -> AsyncIterator[Front]:
    """In front of the registry at HOST:PORT, on a port of the loopback, and at `socket`."""
    front = Front(registry)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", front.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await web.UnixSite(runner, str(socket)).start()
        front.port = runner.addresses[0][1]
        yield front
    finally:
        await runner.cleanup()
