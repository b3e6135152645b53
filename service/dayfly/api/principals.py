"""The principal of a request, for routes. Not here: who may do what."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from dayfly.api.authentication import RECHECK
from dayfly.domain.security.principal import Principal


def principal_of(request: Request) -> Principal:
    """The principal that the request proved (middleware.py). A public operation has none."""
    return cast("Principal", request.state.principal)


async def _caller(request: Request) -> Principal:
    return principal_of(request)


Caller = Annotated[Principal, Depends(_caller)]
"""Type of a route's parameter that receives the principal."""


async def require_still(request: Request) -> None:
    """Raises Unauthenticated if the caller's token was revoked or has expired since; for responses that are held."""
    recheck = request.scope.get("state", {}).get(RECHECK)
    if recheck is not None:
        await recheck()
