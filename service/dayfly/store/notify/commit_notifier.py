"""Notifies watchers of commits, so that nothing has to poll: within this process; on PostgreSQL across processes.

A watch has one topic: the id of a cluster or a bake, a lifecycle request for it, or one of those below. A notification
only means "read again". It may come without need, but is never lost: a watch is active from the moment it is entered,
and whenever other processes could not be heard for a while, all watchers are notified.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

WORK: Final = "work"
"""Topic: a cluster became due."""
QUEUE: Final = "queue"
"""Topic: the queue, the free resources, a template or a pool changed."""
EVENTS: Final = "events"
"""Topic: an event of any cluster was added."""

BAKES: Final = "bakes"
"""Topic: a bake may be taken up by a builder."""
TOKENS: Final = "tokens"
"""Topic: a token was revoked, or removed with its team."""
WEBHOOKS: Final = "webhooks"
"""Topic: something is to be sent to a webhook."""


def request_topic(cluster_id: str) -> str:
    """The topic of requests for one cluster, for the holder of its claim. The cluster's id is the topic of all its
    changes.
    """
    # Workers of the version before send and expect "wish" on the same PostgreSQL.
    return f"{cluster_id} wish"


RETRY_SECONDS: Final = 1.0
"""Pause between attempts to reconnect the listener. Commits of this process wake watchers meanwhile."""


Heard = Callable[[], Awaitable[bool]]
"""Reconnects if necessary; whether notifications of other processes arrive (postgresql_listen.py)."""


class Watch:
    """Remembers a change since the last `wait`."""

    def __init__(self, heard: Heard | None) -> None:
        self._heard = heard
        self._changed = asyncio.Event()

    async def wait(self, timeout: float) -> bool:
        """True after a change; False after `timeout` seconds.

        Returns at once for a change since the watch began, or since the last `wait`.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._changed.is_set():
                    heard = self._heard is None or await self._heard()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(None if heard else RETRY_SECONDS):
                            await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def is_heard(self) -> bool:
        """Whether commits of other processes wake this watch now; reconnects if necessary.

        When that ends, the watch is woken, and once more when it begins again.
        """
        return self._heard is None or await self._heard()

    def take(self) -> bool:
        """Whether there was a change since the last `wait` or `take`, without waiting."""
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def wake(self) -> None:
        """Make the current or next `wait` return."""
        self._changed.set()


class CommitNotifier:
    def __init__(self) -> None:
        self.heard: Heard | None = None
        self.origin = secrets.token_hex(8)
        """Identifies notifications of this store."""
        self._watches: defaultdict[str, set[Watch]] = defaultdict(set)

    @contextmanager
    def watch(self, topic: str) -> Iterator[Watch]:
        """A watch that every commit on `topic` wakes."""
        watch = Watch(self.heard)
        self._watches[topic].add(watch)
        try:
            yield watch
        finally:
            self._watches[topic].discard(watch)
            if not self._watches[topic]:
                del self._watches[topic]

    def wake(self, topic: str) -> None:
        for watch in self._watches.get(topic, ()):
            watch.wake()

    def wake_all(self) -> None:
        """Wake all watches, because notifications may have been lost."""
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()
