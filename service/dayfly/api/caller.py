"""The caller of a request that creates something: nothing is created for a caller that has left."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request


async def require_caller(request: Request) -> None:
    """Raises ClientDisconnect if the caller has left. Call it just before the commit, after the body was read."""
    if await request.is_disconnected():
        raise ClientDisconnect
