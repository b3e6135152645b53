"""GET /v1/whoami: who the server takes the caller for."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from dayfly.api.principals import Caller
from dayfly.schemas.access import Whoami

router: Final = APIRouter(prefix="/v1/whoami", tags=["access control"])


@router.get("", operation_id="whoami")
async def whoami(caller: Caller) -> Whoami:
    """The caller: principal, team and role."""
    return Whoami(principal=caller.name, team=caller.team, role=caller.role.value)
