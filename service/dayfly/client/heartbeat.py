"""Heartbeats in the background, while the caller does something else: by a thread, or by a task of asyncio.

A foreign answer, an outage or a failure of the server ends no loop; only Dayfly's own final codes do. A loop that ends
logs an error, and the block raises it at its end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from dayfly.client.errors import ApiError, ClientError
from dayfly.client.retries import FINAL_CODES, REQUEST_SECONDS, Backoff, async_retry, sync_retry
from dayfly.schemas.clusters import Heartbeat

_log = logging.getLogger("dayfly.client")


def pause_seconds(beat: Heartbeat) -> float:
    """A third of the interval: two may be lost, and the cluster lives."""
    return beat.heartbeat_interval_seconds / 3


def is_last(error: ClientError) -> bool:
    """Whether another heartbeat is useless: Dayfly said that the cluster is deleted, or expects no heartbeat."""
    return isinstance(error, ApiError) and error.code in FINAL_CODES


def log_failure(error: ClientError) -> None:
    """Log the failed heartbeat: an error if it was the last one, else a warning."""
    if is_last(error):
        _log.error("heartbeats ended: %s", error)
    else:
        _log.warning("heartbeat failed, the next one follows: %s", error)


@contextmanager
def sync_heartbeats(beat: Callable[[], Heartbeat], *, expected_end: Callable[[], bool]) -> Iterator[None]:
    """Call `beat` now, and again and again until the block ends. Raises what the first one does.

    Raises the error of the last heartbeat at the end of the block, unless it was an `expected_end`.
    """
    first, stop = sync_retry(Backoff(REQUEST_SECONDS), beat), threading.Event()
    last: list[ClientError] = []

    def run() -> None:
        latest = first
        while not stop.wait(pause_seconds(latest)):
            try:
                latest = beat()
            except ClientError as error:
                if is_last(error):
                    last.append(error)
                if not (is_last(error) and expected_end()):
                    log_failure(error)
                if last:
                    return

    thread = threading.Thread(target=run, name="dayfly-heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if last and not expected_end():
        raise last[0]


@asynccontextmanager
async def async_heartbeats(
    beat: Callable[[], Awaitable[Heartbeat]], *, expected_end: Callable[[], bool]
) -> AsyncIterator[None]:
    """The same for asyncio."""
    first = await async_retry(Backoff(REQUEST_SECONDS), beat)

    async def run() -> None:
        latest = first
        while True:
            await asyncio.sleep(pause_seconds(latest))
            try:
                latest = await beat()
            except ClientError as error:
                if not (is_last(error) and expected_end()):
                    log_failure(error)
                if is_last(error):
                    raise

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        failed = None if task.cancelled() else task.exception()
    if failed is not None and not (isinstance(failed, ClientError) and expected_end()):
        raise failed
