"""Health, readiness, version and metrics of the service. Not here: the counting for metrics (store/statistics.py)."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Gauge, generate_latest

from dayfly import __version__
from dayfly.api.dependencies import ReadinessCheck, Services
from dayfly.api.problems import RETRY_AFTER_SECONDS, FieldError, problem_response
from dayfly.errors import DayflyError
from dayfly.schemas.system import Health, Readiness, Version

router: Final = APIRouter(tags=["system"])

_CHECK_SECONDS: Final = 5.0


@router.get("/healthz", operation_id="getHealth")
async def get_health() -> Health:
    """Liveness: the process responds."""
    return Health()


@router.get("/readyz", operation_id="getReadiness", response_model=Readiness)
async def get_readiness(request: Request, services: Services) -> Readiness | Response:
    """Readiness: 200 if all dependencies work, otherwise 503 `unready` with the failed checks."""
    async with asyncio.TaskGroup() as group:
        running = {name: group.create_task(_failure(check)) for name, check in services.checks.items()}
    failures = {name: reason for name, task in running.items() if (reason := task.result()) is not None}
    if not failures:
        return Readiness(checks=dict.fromkeys(running, "ok"))
    return problem_response(
        request.scope,
        503,
        "unready",
        "A dependency of the service does not work",
        "; ".join(f"{name}: {reason}" for name, reason in failures.items()),
        field_errors=[FieldError(location="check", path=name, detail=reason) for name, reason in failures.items()],
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


@router.get("/v1/version", operation_id="getVersion")
async def get_version() -> Version:
    """The version of the server."""
    return Version(version=__version__, api=("v1",))


@router.get("/metrics", operation_id="getMetrics", response_class=PlainTextResponse)
async def get_metrics(services: Services) -> PlainTextResponse:
    """Numbers of pool members, templates and forks, in Prometheus' text format."""
    statistics, registry = services.store.statistics, CollectorRegistry()
    text = "Members of a pool: ready, provisioning, failed, or deleting."
    members = Gauge("dayfly_pool_members", text, ["pool", "state"], registry=registry)
    for labels, count in sorted((await statistics.count_members()).items()):
        members.labels(*labels).set(count)
    templates = Gauge("dayfly_templates", "Templates, by phase.", ["phase"], registry=registry)
    for phase, count in (await statistics.count_templates()).items():
        templates.labels(phase.value).set(count)
    Gauge("dayfly_forks", "Living forks of templates.", registry=registry).set(await statistics.count_forks())
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _failure(check: ReadinessCheck) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except DayflyError as error:
        return error.message
    except TimeoutError:
        return f"no response within {_CHECK_SECONDS:.0f} s"
    return None
