"""Health, readiness and version of the service."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response

from dayfly import __version__
from dayfly.api.dependencies import ReadinessCheck, Services
from dayfly.api.problems import FieldError, log_outage, problem_response
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
    title = "A dependency of the service does not work"
    detail = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
    failed = [FieldError(location="check", path=name, detail=reason) for name, reason in failures.items()]
    return problem_response(request.scope, 503, "unready", title, detail, field_errors=failed)


@router.get("/v1/version", operation_id="getVersion")
async def get_version() -> Version:
    """The version of the server."""
    return Version(version=__version__, api=("v1",))


async def _failure(check: ReadinessCheck) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except DayflyError as error:
        log_outage(error)
        return error.message
    except TimeoutError:
        return f"no response within {_CHECK_SECONDS:.0f} s"
    return None
