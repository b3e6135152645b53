"""Helpers for asyncio: calls that must not be cancelled half-way, and the single cause of an exception group.

A cancelled statement leaves its database connection in an unknown state; on SQLite such a connection kept the write
lock until all other writers had timed out. A cancelled `create` leaves an unknown container on the engine.
A call that is marked uncancellable has a time limit of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

E = TypeVar("E", bound=BaseException)
P = ParamSpec("P")
T = TypeVar("T")


def uncancellable(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The method completes even if its caller is cancelled; the cancellation is raised after that."""

    @wraps(method)
    async def to_its_end(*args: P.args, **kwargs: P.kwargs) -> T:
        running = asyncio.ensure_future(method(*args, **kwargs))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await _end_of(running)
            raise

    return to_its_end


@asynccontextmanager
async def unwrap_exception_group() -> AsyncIterator[None]:
    """Wraps a task group: raises its first failure instead of the exception group.

    A failure cancels the other tasks, so a group rarely has a second failure.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        raise first_leaf(group) from group


def first_leaf(error: E | BaseExceptionGroup[E]) -> E:
    """The first failure in a group, however deep; `error` itself where it is none."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def in_parallel(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all calls, in their order. The first failure cancels the others, and is raised."""
    async with unwrap_exception_group(), asyncio.TaskGroup() as group:
        tasks = [group.create_task(call) for call in calls]
    return [task.result() for task in tasks]


async def in_order_of_needs(
    needs: Mapping[str, Iterable[str]], call: Callable[[str], Coroutine[Any, Any, None]]
) -> None:
    """`call` with each name of `needs`, once the calls with the names that it needs have ended; otherwise in parallel.

    A needed name that is no key is taken as there. The first failure cancels the other calls, and is raised.
    """
    ended = {name: asyncio.Event() for name in needs}

    async def one(name: str) -> None:
        for needed in ended.keys() & set(needs[name]):
            await ended[needed].wait()
        await call(name)
        ended[name].set()

    await in_parallel(map(one, needs))


async def first_result(work: Awaitable[T], guard: Awaitable[T]) -> T:
    """The result of `work`, or of `guard` where that ends first. The other is cancelled, and has ended."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(guard)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end_of(running: asyncio.Future[Any]) -> None:
    """Wait for the end of `running`, despite cancellations: every uncancellable call has a time limit of its own."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({running})
    if not running.cancelled():
        running.exception()  # retrieved: asyncio would log it otherwise
