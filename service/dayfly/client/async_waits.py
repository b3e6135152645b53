"""Waits of the asynchronous client, and heartbeats meanwhile. Not here: single requests (async_clusters.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from dayfly.client import async_connection, event_stream, retries, waiting
from dayfly.client import transport as wire
from dayfly.client.async_clusters import AsyncClusters, P
from dayfly.client.errors import ApiError, ClientError, WaitTimeout
from dayfly.client.heartbeat import async_heartbeats
from dayfly.client.transport import path_of
from dayfly.schemas.clusters import (
    Cluster,
    ClusterEvent,
    ClusterEventList,
    ClusterSummary,
    Event,
    EventList,
    wait_is_over,
)
from dayfly.vocabulary import WaitFor


class AsyncWaits(AsyncClusters):
    """Waits go on through outages of the server until their time is over, and send the cluster's heartbeats."""

    @asynccontextmanager
    async def keep_alive(self, cluster: str) -> AsyncIterator[None]:
        """Send heartbeats in the background while the block runs.

        A heartbeat that fails for a moment is made up for by the next one. If the heartbeats end because the cluster is
        deleted, an error is logged, and the end of the block raises it, unless this client deleted the cluster.
        """
        backoff = retries.Backoff(retries.REQUEST_SECONDS)
        identity = (await async_connection.async_retry(backoff, lambda: self.get(cluster))).id
        async with async_heartbeats(
            lambda: self._heartbeat(identity, once=True), expected_end=lambda: identity in self._deleted
        ):
            yield

    async def wait_ready(self, cluster: str, *, timeout_seconds: float = waiting.READY_SECONDS) -> Cluster:
        """Until it is ready. Raises ClusterFailed, WaitTimeout."""
        return await self._wait(cluster, "ready", timeout_seconds)

    async def wait_hibernated(self, cluster: str, *, timeout_seconds: float = waiting.HIBERNATED_SECONDS) -> Cluster:
        """Until it is hibernated. Raises ClusterFailed, also where it could not be and is ready, and WaitTimeout."""
        return await self._wait(cluster, "hibernated", timeout_seconds)

    async def wait_deleted(self, cluster: str, *, timeout_seconds: float = waiting.DELETED_SECONDS) -> None:
        """Until nothing is left of it, or nothing was. Raises WaitTimeout."""
        try:
            await self._wait(cluster, "deleted", timeout_seconds)
        except ApiError as error:
            if error.code != "not_found":
                raise

    async def follow(self, cluster: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Events as they come, until the cluster is deleted; goes on after an outage of the server of ten minutes.

        None is missed, and none comes twice. Sends the cluster's heartbeats meanwhile.
        """
        backoff = retries.Backoff(waiting.FOLLOW_SECONDS)
        seen = await async_connection.async_retry(backoff, lambda: self.get(cluster))
        path = path_of("clusters", seen.id, "events")
        async with self.heartbeats_while_waiting(seen):
            async for page in self._follow_pages(EventList, path, {"wait": waiting.HOLD_SECONDS}, after):
                for event in page.events:
                    yield event

    async def follow_all(
        self,
        *,
        clusters: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        owner: str | None = None,
        types: Sequence[str] = (),
        after: int = 0,
    ) -> AsyncIterator[ClusterEvent]:
        """Events of all clusters as they come, of any of `types` (none given: of all); without an end.

        `clusters`: ids and names; none given: those of `owner` with all of `labels`. Goes on after outages as follow().
        """
        pairs = [f"{key}={value}" for key, value in (labels or {}).items()]
        query = {"cluster": clusters, "label": pairs, "owner": owner, "kind": types}
        async for page in self._follow_pages(ClusterEventList, "/v1/events", query, after):
            for event in page.events:
                yield event

    async def _follow_pages(self, kind: type[P], path: str, query: wire.Query, after: int) -> AsyncIterator[P]:
        backoff = retries.Backoff(waiting.FOLLOW_SECONDS)
        while True:
            try:
                async for page in self._event_pages(kind, path, {**query, "after": after}, after):
                    backoff = retries.Backoff(waiting.FOLLOW_SECONDS)
                    after = page.next_after
                    yield page
                    if event_stream.is_end(page):
                        return
            except ClientError as error:
                pause = backoff.pause_seconds(error) if retries.may_pass(error) else None
                if pause is None:
                    raise
                await async_connection.async_pause(pause)

    async def follow_console(self, cluster: str, node: str, *, tail_bytes: int = 65536) -> AsyncIterator[str]:
        """The end of what a node's serial console printed, and what it prints from now on, until the node ends.

        Goes on after an outage of the server of ten minutes, with what was printed meanwhile. Sends the cluster's
        heartbeats.
        """
        path_of("clusters", cluster, "nodes", node)  # a name that is a path is sent nowhere, nor is anything before it
        followed = await self.get(cluster)
        async with self.heartbeats_while_waiting(followed):
            async for text in self._follow_console(followed.id, node, tail_bytes):
                yield text

    async def _follow_console(self, cluster: str, node: str, tail_bytes: int) -> AsyncIterator[str]:
        seen, begun = "", False
        backoff = retries.Backoff(waiting.FOLLOW_SECONDS)
        while True:
            try:
                if begun:
                    missed = waiting.unseen(await self.console(cluster, node), seen)
                    if missed:
                        yield missed
                    seen = (seen + missed)[-waiting.OVERLAP_CHARACTERS :]
                async for text in self._console_stream(cluster, node, 0 if begun else tail_bytes):
                    begun, backoff = True, retries.Backoff(waiting.FOLLOW_SECONDS)
                    seen = (seen + text)[-waiting.OVERLAP_CHARACTERS :]
                    yield text
            except ClientError as error:
                pause = backoff.pause_seconds(error) if begun and retries.may_pass(error) else None
                if pause is None:
                    raise
            else:
                return
            await async_connection.async_pause(pause)

    async def _wait(self, cluster: str, wanted: WaitFor, timeout_seconds: float) -> Cluster:
        """Wait until the cluster has the state. Raises ClusterFailed, WaitTimeout, or a longer outage's error."""
        backoff = retries.Backoff(timeout_seconds)
        # How long a request may be held depends on the cluster's heartbeats.
        seen = await async_connection.async_retry(backoff, lambda: self.get(cluster))
        identity = seen.id  # the name is free for another as soon as this cluster is deleted
        async with self.heartbeats_while_waiting(seen):
            while True:
                remaining = backoff.remaining
                hold_seconds = min(remaining, waiting.longest_hold(seen))
                seen = await async_connection.async_retry(
                    backoff, partial(self.get, identity, wait=wanted, timeout_seconds=hold_seconds)
                )
                if wait_is_over(seen, wanted):
                    waiting.require_reached(seen, wanted)
                    return seen
                if remaining <= 0:
                    raise WaitTimeout(seen, wanted, timeout_seconds)

    @asynccontextmanager
    async def heartbeats_while_waiting(self, cluster: ClusterSummary) -> AsyncIterator[None]:
        """Send heartbeats in the background while the block runs, if the cluster expects them.

        Not between the block's requests: a look at the cluster may fail for longer than the interval.
        Their end is no error of the block: the next look at the cluster tells.
        """
        interval = cluster.heartbeat_interval_seconds
        if interval is None or cluster.desired == "absent":
            yield
            return
        beat = partial(self._heartbeat, cluster.id, once=True)
        async with async_heartbeats(beat, expected_end=lambda: True, interval_seconds=interval):
            yield
