"""A fake engine with recorded answers on a unix socket, which records requests: for unit tests of the driver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

DOCKER_26 = {
    "Components": [{"Name": "Engine", "Version": "26.1.5+dfsg1", "Details": {"ApiVersion": "1.45"}}],
    "Version": "26.1.5+dfsg1",
    "ApiVersion": "1.45",
    "MinAPIVersion": "1.24",
}
PODMAN_5 = {
    "Components": [
        {"Name": "Podman Engine", "Version": "5.4.2", "Details": {"APIVersion": "5.4.2", "MinAPIVersion": "4.0.0"}},
        {"Name": "Conmon", "Version": "conmon version 2.1.12, commit: unknown", "Details": {}},
    ],
    "Version": "5.4.2",
    "ApiVersion": "1.41",
    "MinAPIVersion": "1.24",
}


@dataclass(frozen=True)
class Asked:
    """One request, its path without the API's version."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any = None


Answer = tuple[int, Any]
"""Status and body: text as it is, everything else as JSON; None: none."""


@dataclass
class RecordedEngine:
    """`answers`: (method, path) → an answer, or a function that returns one. Others get `fallback`, or 404."""

    url: str
    answers: dict[tuple[str, str], Answer | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    fallback: Answer | None = None

    def requests(self, method: str) -> list[str]:
        """The paths of all requests of that method, in order."""
        return [one.path for one in self.asked if one.method == method]

    async def handle(self, request: web.Request) -> web.Response:
        first, _, rest = request.path.lstrip("/").partition("/")
        path = rest if first.startswith("v") and first[1:2].isdigit() else request.path.lstrip("/")
        text = await request.text()
        body = json.loads(text) if text.startswith("{") else None
        asked = Asked(request.method, path, dict(request.query), dict(request.headers), body)
        self.asked.append(asked)
        answer = self.answers.get((request.method, path)) or self.fallback or _not_found(path)
        status, told = answer if isinstance(answer, tuple) else answer(asked)
        if told is None:
            return web.Response(status=status)
        if isinstance(told, str):
            return web.Response(status=status, text=told, content_type="application/json")
        return web.json_response(told, status=status)


def _not_found(path: str) -> Answer:
    return 404, {"message": f"no such thing: {path}"}


@asynccontextmanager
async def recorded_engine(folder: Path, version: dict[str, Any]) -> AsyncIterator[RecordedEngine]:
    """An engine of that `version`, at a socket in `folder`."""
    socket = folder / "recorded.sock"
    engine = RecordedEngine(f"unix://{socket}")
    engine.answers["GET", "version"] = (200, version)
    engine.answers["GET", "_ping"] = (200, "OK")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield engine
    finally:
        await runner.cleanup()
