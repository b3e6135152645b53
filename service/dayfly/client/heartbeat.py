"""Heartbeats in the background, while the caller does something else: by a thread, or by a task of asyncio.

Only Dayfly's own final codes end a loop: no foreign answer does, no outage, no failure of the server, and no exception
of any other kind. A loop that ends logs an error, and the block raises it at its end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from dayfly.client.async_connection import async_retry
from dayfly.client.errors import ApiError, ClientError
from dayfly.client.retries import FINAL_CODES, REQUEST_SECONDS, Backoff
from dayfly.client.sync_connection import sync_retry
from dayfly.schemas.clusters import Heartbeat

_JOIN_SECONDS: Final = 1.0
"""How long the end of a wait lasts for a heartbeat that is under way."""

_log = logging.getLogger("dayfly.client")


def pause_seconds(interval_seconds: int) -> float:
    """A third of the interval: two may be lost, and the cluster lives."""
    return interval_seconds / 3


def is_last(error: Exception) -> bool:
    """Whether another heartbeat is useless: Dayfly said that the cluster is deleted, or expects no heartbeat."""
    return isinstance(error, ApiError) and error.code in FINAL_CODES


def log_failure(error: Exception) -> None:
    """Log the failed heartbeat: a warning, or an error if it was the last one or failed in a way of no ClientError."""
    if is_last(error):
        _log.error("heartbeats ended: %s", error)
    elif isinstance(error, ClientError):
        _log.warning("heartbeat failed, the next one follows: %s", error)
    else:
        _log.error("heartbeat failed, the next one follows: %r", error, exc_info=error)


@contextmanager
def sync_heartbeats(
    beat: Callable[[], Heartbeat], *, expected_end: Callable[[], bool], interval_seconds: int | None = None
) -> Iterator[None]:
    """Call `beat` now, and again and again until the block ends. Raises what the first one does.

    Raises the error of the last heartbeat at the end of the block, unless it was an `expected_end`. With the cluster's
    `interval_seconds`, the first heartbeat is sent in the background, too, and the block begins at once.
    """
    interval, pause = interval_seconds, 0.0
    if interval is None:
        interval = sync_retry(Backoff(REQUEST_SECONDS), beat).heartbeat_interval_seconds
        pause = pause_seconds(interval)
    stop = threading.Event()
    last: list[Exception] = []

    def run(interval: int, pause: float) -> None:
        while not stop.wait(pause):
            try:
                interval = beat().heartbeat_interval_seconds
            except Exception as error:  # the cluster's life depends on the next heartbeat
                if stop.is_set():
                    return
                if not (is_last(error) and expected_end()):
                    log_failure(error)
                if is_last(error):
                    last.append(error)
                    return
            pause = pause_seconds(interval)

    thread = threading.Thread(target=run, args=(interval, pause), name="dayfly-heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(None if interval_seconds is None else _JOIN_SECONDS)
    if last and not expected_end():
        raise last[0]


@asynccontextmanager
async def async_heartbeats(
    beat: Callable[[], Awaitable[Heartbeat]], *, expected_end: Callable[[], bool], interval_seconds: int | None = None
) -> AsyncIterator[None]:
    """The same for asyncio."""
    interval, pause = interval_seconds, 0.0
    if interval is None:
        interval = (await async_retry(Backoff(REQUEST_SECONDS), beat)).heartbeat_interval_seconds
        pause = pause_seconds(interval)

    async def run(interval: int, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                interval = (await beat()).heartbeat_interval_seconds
            except Exception as error:
                if not (is_last(error) and expected_end()):
                    log_failure(error)
                if is_last(error):
                    raise
            pause = pause_seconds(interval)

    task = asyncio.create_task(run(interval, pause))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        failed = None if task.cancelled() else task.exception()
    if failed is not None and not (isinstance(failed, ClientError) and expected_end()):
        raise failed
