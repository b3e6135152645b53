"""/metrics, for a monitoring system. The format is in telemetry.py, the counting in store/statistics.py."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from dayfly.api.dependencies import Services
from dayfly.telemetry import Metric, exposition

router: Final = APIRouter(tags=["system"])

_FORM: Final = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics", operation_id="getMetrics", response_class=PlainTextResponse)
async def get_metrics(services: Services) -> PlainTextResponse:
    """Numbers of pool members, templates and forks, in Prometheus' text format."""
    members = await services.store.count_members()
    templates = await services.store.count_templates()
    forks = await services.store.count_forks()
    metrics = (
        Metric(
            "dayfly_pool_members",
            "gauge",
            "Members of a pool: ready, being made, failed, or being removed.",
            [({"pool": pool, "state": state}, count) for (pool, state), count in sorted(members.items())],
        ),
        Metric(
            "dayfly_templates",
            "gauge",
            "Templates, by phase.",
            [({"phase": phase.value}, count) for phase, count in templates.items()],
        ),
        Metric("dayfly_forks", "gauge", "Living forks of templates.", [({}, forks)]),
    )
    return PlainTextResponse(exposition(metrics), media_type=_FORM)
