"""Long polling: holds a response until a condition is met. Commits to the store wake it; nothing is polled.

When the service stops, held responses end with the present state: a caller asks again, and finds the next process. The
number of held responses is bounded, that of all and that of each team (held_responses.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dayfly.api.dependencies import ApiServices
from dayfly.api.held_responses import HeldResponses
from dayfly.api.principals import principal_of, require_still
from dayfly.errors import LongPollsExceeded, TooManyWaits, Unauthenticated

T = TypeVar("T")

MAX_SECONDS: Final = 3600
_LOOK_SECONDS: Final = 5.0
"""Seconds between reads without a notification: a notification can be lost with its connection, and the caller may have
left.
"""


async def hold(
    request: Request,
    services: ApiServices,
    cluster_id: str,
    look: Callable[[], Awaitable[T]],
    enough: Callable[[T], bool],
    timeout_seconds: float,
) -> T:
    """The first result of `look` that is `enough`.

    The last result after `timeout_seconds`, if the caller left, or if the service stops. Raises Unauthenticated if the
    caller's token is revoked meanwhile. Beyond the bound of held responses: raises TooManyWaits or LongPollsExceeded
    for a GET; the first result for another method, which made its change already.
    """
    deadline = services.clock.monotonic() + timeout_seconds
    async with AsyncExitStack() as holding:
        watch, is_held = holding.enter_context(services.store.watch(cluster_id)), False
        while True:
            await require_still(request)
            seen = await look()
            remaining = deadline - services.clock.monotonic()
            if enough(seen) or remaining <= 0 or services.closing.is_set() or await request.is_disconnected():
                return seen
            if not is_held:
                try:
                    await holding.enter_async_context(held(request, services, services.held))
                except (TooManyWaits, LongPollsExceeded):
                    if request.method == "GET":
                        raise
                    return seen
                is_held = True
            await unless_closing(services, watch.wait(min(remaining, _LOOK_SECONDS)))


@asynccontextmanager
async def held(request: Request, services: ApiServices, responses: HeldResponses) -> AsyncIterator[None]:
    """Hold one more of `responses`, for the caller's team. Raises their refusal, LongPollsExceeded."""
    team, operation_id = principal_of(request).team, request.scope["route"].operation_id
    quota = await services.store.quotas.of(team)
    with services.held_of_teams.hold(team, operation_id, quota), responses.hold():
        yield


class StreamCut(Exception):
    """The service stops, or the caller's token is no longer valid: the response has no end.

    Its reader asks again, for the rest.
    """


class HeldStream(StreamingResponse):
    """A stream that ends with its source, or breaks off when the service stops: held, as one of `responses`.

    Raises their refusal, LongPollsExceeded.
    """

    def __init__(
        self,
        request: Request,
        services: ApiServices,
        responses: HeldResponses,
        content: AsyncGenerator[str | bytes],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._held, self._content = held(request, services, responses), content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The content is closed here, and not when its memory is collected: it may watch the store.
        async with self._held, aclosing(self._content):
            await super().__call__(scope, receive, send)


async def until_closing(services: ApiServices, chunks: AsyncIterator[T]) -> AsyncIterator[T]:
    """`chunks`. Raises StreamCut when the service stops before their end."""

    async def following() -> tuple[T, ...]:
        async for chunk in chunks:
            return (chunk,)
        return ()

    while found := await unless_closing(services, following()):
        yield found[0]
    if found is None:
        raise StreamCut


async def while_proven(request: Request, chunks: AsyncIterator[T]) -> AsyncIterator[T]:
    """`chunks`, as long as the caller's token is valid. Raises StreamCut when it is not any more."""
    async for chunk in chunks:
        try:
            await require_still(request)
        except Unauthenticated as error:
            raise StreamCut from error
        yield chunk


async def unless_closing(services: ApiServices, wait: Coroutine[Any, Any, T]) -> T | None:
    """The result of `wait`; None if the service stops before."""
    waiting = asyncio.ensure_future(wait)
    closing = asyncio.ensure_future(services.closing.wait())
    try:
        await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        for task in (waiting, closing):
            task.cancel()
        await asyncio.gather(waiting, closing, return_exceptions=True)
