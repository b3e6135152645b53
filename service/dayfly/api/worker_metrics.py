"""The HTTP application of a `dayfly worker`: GET /metrics, behind the same checks as the API's requests.

Not here: the API's /metrics, which has the store's numbers, too (system/routes_metrics.py).
"""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from dayfly import metrics
from dayfly.api import middleware, problems
from dayfly.settings import Settings

_router: Final = APIRouter()


@_router.get("/metrics")
async def _get_metrics() -> PlainTextResponse:
    return PlainTextResponse(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def create_metrics_app(settings: Settings, closing: asyncio.Event) -> FastAPI:
    """`closing` as in ApiServices."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.include_router(_router)
    problems.install(app, _router.routes)
    middleware.install(
        app,
        settings.allowed_hosts,
        closing,
        body_seconds=settings.body_timeout_seconds,
        # Numbers of this process alone: none of their labels names what a team has.
        authentication=None,
        public=frozenset(),
    )
    return app
