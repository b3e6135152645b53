"""Notifies watchers of commits, so that nothing has to poll: within this process; on PostgreSQL across processes.

A watch has one topic: a cluster's id, its lifecycle request, WORK or QUEUE. A notification only says "look again". It
may come without need, but is never lost: a watch is active from the moment it is entered, and whenever other processes
could not be heard for a while, all watchers are notified.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

WORK: Final = "work"
"""Something became due for a worker."""
QUEUE: Final = "queue"
"""Somebody came into the queue or left it, or there is more room."""


def request_topic(cluster_id: str) -> str:
    """The topic of what is wanted of one cluster, for who acts on it; the cluster's id is the topic of all of it."""
    return f"{cluster_id} wish"


RETRY_SECONDS: Final = 1.0
"""While other processes cannot be heard: the pause before the next attempt, in which our own commits still wake."""


Heard = Callable[[], Awaitable[bool]]
"""Whether other processes are heard, after an attempt to make it so (postgresql_listen.py)."""


class Watch:
    """Remembers that something changed since the last `wait`."""

    def __init__(self, heard: Heard | None) -> None:
        self._heard = heard
        self._changed = asyncio.Event()

    async def wait(self, timeout: float) -> bool:
        """True once something changed; False after `timeout` seconds.

        At once, if it changed since the watch began or was last waited for.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._changed.is_set():
                    heard = self._heard is None or await self._heard()
                    await self._until_changed(None if heard else RETRY_SECONDS)
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def _until_changed(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """Make the present or next `wait` return."""
        self._changed.set()


class CommitNotifier:
    """The watches of one store."""

    def __init__(self) -> None:
        self.heard: Heard | None = None
        self.origin = secrets.token_hex(8)
        """Tells our own notifications from those of other stores."""
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    @contextmanager
    def watch(self, topic: str) -> Iterator[Watch]:
        """Be told of every commit that concerns `topic`."""
        watch = Watch(self.heard)
        self._watches[topic].add(watch)
        try:
            yield watch
        finally:
            self._watches[topic].discard(watch)
            if not self._watches[topic]:
                del self._watches[topic]

    def wake(self, topic: str) -> None:
        """Tell those who watch `topic`."""
        for watch in self._watches.get(topic, ()):
            watch.wake()

    def wake_all(self) -> None:
        """Tell everybody: what happened meanwhile is not known."""
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()
