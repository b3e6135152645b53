"""Requests of the asynchronous client about clusters. Not here: waits and heartbeats (async_waits.py)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, TypeVar, Unpack

import httpx
from httpx_sse import EventSource

from dayfly.client import event_stream
from dayfly.client import transport as wire
from dayfly.client.async_connection import AsyncConnection
from dayfly.client.kubeconfig import rebuilt
from dayfly.client.options import ClusterChanges, ClusterOptions, as_json, shape_body
from dayfly.client.transport import path_of
from dayfly.schemas.checkpoints import Checkpoint, CheckpointList
from dayfly.schemas.cluster_requests import HoldRequest
from dayfly.schemas.clusters import (
    Cluster,
    ClusterEventList,
    ClusterList,
    ClusterSummary,
    DryRun,
    Event,
    EventList,
    Heartbeat,
    Port,
    PortList,
    Registry,
)
from dayfly.schemas.nodes import Node, NodeList, SshAccess
from dayfly.vocabulary import VmsUnderHold, WaitFor

P = TypeVar("P", EventList, ClusterEventList)

_DIAGNOSTICS_SECONDS: Final = 90.0
"""How long the server may collect what is to be known of a cluster."""
_PAGE: Final = 500


class AsyncClusters(AsyncConnection):
    """Clusters, their nodes, events and checkpoints."""

    async def create(
        self, name: str | None = None, *, idempotency_key: str | None = None, **options: Unpack[ClusterOptions]
    ) -> Cluster:
        """Request a cluster; it is being made when this returns."""
        body = shape_body({"name": name, **options})
        return await self._read(Cluster, "POST", "/v1/clusters", json=body, key=idempotency_key, of=name)

    async def dry_run(self, name: str | None = None, **options: Unpack[ClusterOptions]) -> DryRun:
        """Check a create request; the cluster it would create."""
        body = shape_body({"name": name, **options})
        return await self._read(DryRun, "POST", "/v1/clusters", json=body, query={"dry_run": True}, of=name)

    async def get(self, cluster: str, *, wait: WaitFor | None = None, timeout_seconds: float = 50.0) -> Cluster:
        """Get a cluster; with `wait`, once it has that state, or at the timeout."""
        path = path_of("clusters", cluster)
        if wait is None:
            return await self._read(Cluster, "GET", path, of=cluster)
        return await self._read_held(
            Cluster, path, {"wait": wait}, parameter="timeout", seconds=timeout_seconds, of=cluster
        )

    async def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Sequence[str] = (),
        owner: str | None = None,
        purposes: Sequence[str] = (),
        name: str | None = None,
    ) -> tuple[ClusterSummary, ...]:
        """All of `owner` with all of `labels` in one of `phases` (none given: all but deleted ones), newest first.

        `name`: clusters that have it, or had it before their deletion. `purposes`: `cluster` (what is listed where none
        is given), `template`, `verification`, `pool_member`.
        """
        pairs = [f"{key}={value}" for key, value in (labels or {}).items()]
        query = {"label": pairs, "phase": phases, "owner": owner, "purpose": purposes, "name": name, "limit": _PAGE}
        found: tuple[ClusterSummary, ...] = ()
        cursor: str | None = None
        while True:
            page = await self._read(ClusterList, "GET", "/v1/clusters", query={**query, "cursor": cursor})
            found += page.clusters
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def delete(self, cluster: str) -> Cluster:
        """Request its deletion; it is being deleted when this returns."""
        deleting = await self._read(Cluster, "DELETE", path_of("clusters", cluster), of=cluster)
        self._deleted.add(deleting.id)
        return deleting

    async def change(self, cluster: str, **changes: Unpack[ClusterChanges]) -> Cluster:
        """Change what is given. `labels` replace all; None takes away time to live, hold, or hibernation when idle."""
        return await self._read(Cluster, "PATCH", path_of("clusters", cluster), json=as_json(changes), of=cluster)

    async def extend(self, cluster: str, ttl_seconds: int) -> Cluster:
        """Set the whole time to live, counted from when the cluster was first ready. Doing it twice extends once."""
        return await self.change(cluster, ttl_seconds=ttl_seconds)

    async def hold(self, cluster: str, *, seconds: int, reason: str, vms: VmsUnderHold = "running") -> Cluster:
        """Keep the cluster for so long from now should it fail or expire, its machines `running` (or `stopped`)."""
        return await self.change(cluster, hold=HoldRequest(seconds=seconds, reason=reason, vms=vms))

    async def release_hold(self, cluster: str) -> Cluster:
        """End the hold: if its time is over, or it failed, it is cleared at once."""
        return await self.change(cluster, hold=None)

    async def heartbeat(self, cluster: str) -> Heartbeat:
        """Say that the cluster is still needed; where it was made to expect that."""
        return await self._heartbeat(cluster, once=False)

    async def reset(
        self, cluster: str, *, checkpoint: str | None = None, idempotency_key: str | None = None
    ) -> Cluster:
        """Back to how it was when it was first ready, or to one of its checkpoints; wait_ready() waits for the end."""
        to = "pristine" if checkpoint is None else {"checkpoint": checkpoint}
        path = path_of("clusters", cluster, "reset")
        return await self._read(Cluster, "POST", path, json={"to": to}, key=idempotency_key, of=cluster)

    async def hibernate(self, cluster: str) -> Cluster:
        """Put its machines on the disk; wait_hibernated() waits for the end."""
        return await self._read(Cluster, "POST", path_of("clusters", cluster, "hibernate"), of=cluster)

    async def resume(self, cluster: str) -> Cluster:
        """Resume a hibernated cluster where it was; wait_ready() waits for the end."""
        return await self._read(Cluster, "POST", path_of("clusters", cluster, "resume"), of=cluster)

    async def create_checkpoint(self, cluster: str, name: str, *, idempotency_key: str | None = None) -> Checkpoint:
        """Request a checkpoint of its present state; it is being saved when this returns."""
        path = path_of("clusters", cluster, "checkpoints")
        return await self._read(Checkpoint, "POST", path, json={"name": name}, key=idempotency_key, of=name)

    async def checkpoints(self, cluster: str) -> tuple[Checkpoint, ...]:
        """All of its checkpoints, oldest first."""
        return (await self._read(CheckpointList, "GET", path_of("clusters", cluster, "checkpoints"))).checkpoints

    async def checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """One of its checkpoints."""
        return await self._read(Checkpoint, "GET", path_of("clusters", cluster, "checkpoints", name), of=name)

    async def delete_checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """Request the checkpoint's deletion."""
        return await self._read(Checkpoint, "DELETE", path_of("clusters", cluster, "checkpoints", name), of=name)

    async def kubeconfig(self, cluster: str) -> str:
        """An administrator's kubeconfig, as YAML, made anew from its known fields."""
        return rebuilt(await self._send("GET", path_of("clusters", cluster, "kubeconfig")), cluster)

    async def registry(self, cluster: str) -> Registry:
        """Where to push images to, and where the cluster pulls them from."""
        return await self._read(Registry, "GET", path_of("clusters", cluster, "registry"))

    async def ports(self, cluster: str) -> tuple[Port, ...]:
        """The published ports."""
        return (await self._read(PortList, "GET", path_of("clusters", cluster, "ports"))).ports

    async def nodes(self, cluster: str) -> tuple[Node, ...]:
        """The nodes, the control plane first."""
        return (await self._read(NodeList, "GET", path_of("clusters", cluster, "nodes"))).nodes

    async def ssh(self, cluster: str, node: str = "node01") -> SshAccess:
        """All that an SSH client needs to log in to a node."""
        return await self._read(SshAccess, "GET", path_of("clusters", cluster, "nodes", node, "ssh"))

    async def console(self, cluster: str, node: str, *, tail_bytes: int = 65536) -> str:
        """The end of what a node's serial console printed."""
        path = path_of("clusters", cluster, "nodes", node, "console")
        return (await self._send("GET", path, query={"tail_bytes": tail_bytes})).text

    async def _console_stream(self, cluster: str, node: str, tail_bytes: int) -> AsyncIterator[str]:
        """The end of a console's output, and new output until the node ends. Raises Unreachable if it breaks off."""
        path = path_of("clusters", cluster, "nodes", node, "console")
        with wire.transport_errors(self._http.base_url):
            query = {"tail_bytes": tail_bytes, "follow": True}
            async with self._http.stream("GET", path, params=query, timeout=wire.FOLLOW_TIMEOUT) as response:
                if not response.is_success:
                    await response.aread()
                    raise wire.api_error(response)
                wire.check_cluster(response, path)
                wire.as_text(response)
                async for text in response.aiter_text():
                    yield text

    async def evidence(self, cluster: str, name: str) -> str:
        """One text of a failed cluster's evidence."""
        return (await self._send("GET", path_of("clusters", cluster, "evidence", name))).text

    async def diagnostics(self, cluster: str) -> bytes:
        """Everything about the cluster as a gzip'ed tarball; also of a deleted one, by its id."""
        path = path_of("clusters", cluster, "diagnostics")
        return (await self._send("GET", path, hold_seconds=_DIAGNOSTICS_SECONDS)).content

    async def events(self, cluster: str, *, after: int = 0, wait_seconds: float = 0.0) -> EventList:
        """The next events after id `after`; waits for one when there is none."""
        query = {"after": after, "limit": _PAGE}
        path = path_of("clusters", cluster, "events")
        return await self._read_held(EventList, path, query, parameter="wait", seconds=wait_seconds)

    async def _event_pages(self, kind: type[P], path: str, query: wire.Query, after: int) -> AsyncIterator[P]:
        """Events after id `after`, as they come. Raises Unreachable where a stream ends that has no end.

        The only page of a server that has no streams.
        """
        with wire.transport_errors(self._http.base_url):
            options: dict[str, Any] = {"headers": event_stream.headers(after), "timeout": wire.EVENTS_TIMEOUT}
            async with self._http.stream("GET", path, params=wire.given(query), **options) as response:
                if not response.is_success:
                    await response.aread()
                    raise wire.api_error(response)
                wire.check_cluster(response, path)
                wire.as_text(response)
                if not event_stream.is_stream(response):
                    await response.aread()
                    yield wire.read(kind, response)
                    return
                async for frame in EventSource(response).aiter_sse():
                    yield event_stream.page_of(kind, frame, response)
                raise httpx.RemoteProtocolError("the stream of events ended")

    async def all_events(self, cluster: str) -> tuple[Event, ...]:
        """All events so far, oldest first."""
        found: tuple[Event, ...] = ()
        while (part := await self.events(cluster, after=found[-1].id if found else 0)).events:
            found += part.events
        return found

    async def _heartbeat(self, cluster: str, *, once: bool) -> Heartbeat:
        path = path_of("clusters", cluster, "heartbeat")
        return await self._read(Heartbeat, "POST", path, once=once)
