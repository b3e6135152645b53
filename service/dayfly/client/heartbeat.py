"""Heartbeats in the background, while the caller does something else: by a thread, or by a task of asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from dayfly.client.errors import ApiError, ClientError
from dayfly.schemas.clusters import Heartbeat


def pause_seconds(beat: Heartbeat) -> float:
    """A third of the interval: two may be lost, and the cluster lives."""
    return beat.heartbeat_interval_seconds / 3


def is_last(error: ClientError) -> bool:
    """Whether there is no use in another one: the cluster is gone or going. A server that is away may come back."""
    return isinstance(error, ApiError) and error.status < 500


@contextmanager
def sync_heartbeats(beat: Callable[[], Heartbeat]) -> Iterator[None]:
    """Call `beat` now, and again and again until the block ends. Raises what the first one does."""
    first, stop = beat(), threading.Event()

    def go_on() -> None:
        latest = first
        while not stop.wait(pause_seconds(latest)):
            try:
                latest = beat()
            except ClientError as error:
                if is_last(error):
                    return

    thread = threading.Thread(target=go_on, name="dayfly-heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@asynccontextmanager
async def async_heartbeats(beat: Callable[[], Awaitable[Heartbeat]]) -> AsyncIterator[None]:
    """The same for asyncio."""
    first = await beat()

    async def go_on() -> None:
        latest = first
        while True:
            await asyncio.sleep(pause_seconds(latest))
            try:
                latest = await beat()
            except ClientError as error:
                if is_last(error):
                    return

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()
