"""Health, readiness and version of the service."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from dayfly import __version__
from dayfly.api.dependencies import ReadinessCheck, Services
from dayfly.api.problems import RETRY_AFTER_SECONDS, FieldError, problem_response
from dayfly.errors import DayflyError

router: Final = APIRouter(tags=["system"])

_CHECK_SECONDS: Final = 5.0


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What the service depends on, by name; all of it works."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]]


class Version(BaseModel):
    """The server's release, and the versions of the API that it speaks."""

    version: str
    api: list[str]


@router.get("/healthz", operation_id="getHealth")
async def get_health() -> Health:
    """The process lives and answers."""
    return Health()


@router.get("/readyz", operation_id="getReadiness", response_model=Readiness)
async def get_readiness(request: Request, services: Services) -> Readiness | Response:
    """The service can do its work; else 503 `unready`, naming what is missing."""
    async with asyncio.TaskGroup() as group:
        running = {name: group.create_task(_complaint(check)) for name, check in services.checks.items()}
    complaints = {name: said for name, task in running.items() if (said := task.result()) is not None}
    if not complaints:
        return Readiness(checks=dict.fromkeys(running, "ok"))
    return problem_response(
        request.scope,
        503,
        "unready",
        "The service cannot work at the moment",
        "; ".join(f"{name}: {said}" for name, said in complaints.items()),
        field_errors=[FieldError(location="check", path=name, detail=said) for name, said in complaints.items()],
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


@router.get("/v1/version", operation_id="getVersion")
async def get_version() -> Version:
    """Which release this is."""
    return Version(version=__version__, api=["v1"])


async def _complaint(check: ReadinessCheck) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except DayflyError as error:
        return error.message
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:.0f} s"
    return None
