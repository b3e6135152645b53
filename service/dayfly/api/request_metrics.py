"""Counts and measures HTTP requests, by method, route template and class of the status.

Labels are closed sets: a path without a route is `none`, a method without a route `other`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dayfly import metrics
from dayfly.clock import Clock, SystemClock

NO_ROUTE: Final = "none"
_METHODS: Final = ("DELETE", "GET", "PATCH", "POST")


def register_routes(routes: Iterable[BaseRoute]) -> None:
    """Begin the metrics of every route at 0."""
    leaves = [route for route in routes if isinstance(route, APIRoute)]
    pairs = {(method, route.path) for route in leaves for method in route.methods or ()}
    pairs |= {(method, NO_ROUTE) for method in (*_METHODS, "other")}
    for method, path in sorted(pairs):
        metrics.http_seconds.labels(_method(method), path)
        for status in metrics.STATUS_CLASSES:
            metrics.http_requests.labels(_method(method), path, status)


@dataclass(frozen=True)
class RequestMetrics:
    """Middleware around everything that may answer."""

    app: ASGIApp
    clock: Clock = field(default_factory=SystemClock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = self.clock.monotonic(), "none"

        async def send_measured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = f"{message['status'] // 100}xx"
                seconds = self.clock.monotonic() - began
                metrics.http_seconds.labels(_method(scope["method"]), _template(scope)).observe(seconds)
            await send(message)

        try:
            await self.app(scope, receive, send_measured)
        finally:
            metrics.http_requests.labels(_method(scope["method"]), _template(scope), status).inc()


def _method(method: str) -> str:
    return method if method in _METHODS else "other"


def _template(scope: Scope) -> str:
    route = scope.get("route")
    return route.path if isinstance(route, APIRoute) and scope["method"] in (route.methods or ()) else NO_ROUTE
