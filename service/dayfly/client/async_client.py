"""The client for asyncio: the methods of sync_client.py. Not here: what is sent (operations/)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TypeVar

import httpx

from dayfly.client import transport as wire
from dayfly.client.async_snapshots import SnapshotOperations
from dayfly.client.errors import ApiError
from dayfly.client.heartbeat import beating_async
from dayfly.client.models import (
    Cluster,
    Event,
    Events,
    Heartbeat,
    HoldRequest,
    Port,
    Registry,
    SizeRequest,
    Spec,
    Version,
)
from dayfly.client.node_models import Node, SshAccess
from dayfly.client.operations import clusters
from dayfly.client.operations.call import Call, Flow
from dayfly.client.operations.clusters import DELETED_SECONDS, READY_SECONDS, Wait
from dayfly.client.request_models import IMAGE_SIZES, KEEP, ClusterChanges, ClusterRequest, Keep

T = TypeVar("T")


class AsyncClient(SnapshotOperations):
    """Dayfly from asyncio: the same methods as Client, awaited."""

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(**wire.configuration(url, token), transport=transport)

    async def create(
        self,
        name: str | None = None,
        *,
        image: str,
        workers: int = 0,
        control_plane: SizeRequest = IMAGE_SIZES,
        worker: SizeRequest = IMAGE_SIZES,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: int | None = None,
        readiness: str | None = None,
        owner: str | None = None,
        heartbeat_interval_seconds: int | None = None,
        restart: str | None = None,
        isolation: str | None = None,
        idle_seconds: int | None = None,
        hold: HoldRequest | None = None,
        idempotency_key: str | None = None,
    ) -> Cluster:
        """As Client.create."""
        shape = (image, workers, control_plane, worker, readiness, owner)
        times = (ttl_seconds, heartbeat_interval_seconds)
        request = ClusterRequest(*shape, name, labels or {}, *times, restart, isolation, idle_seconds, hold)
        return await self._send(clusters.create(request, idempotency_key))

    async def dry_run(
        self,
        name: str | None = None,
        *,
        image: str,
        workers: int = 0,
        control_plane: SizeRequest = IMAGE_SIZES,
        worker: SizeRequest = IMAGE_SIZES,
        labels: Mapping[str, str] | None = None,
        ttl_seconds: int | None = None,
        readiness: str | None = None,
        owner: str | None = None,
        heartbeat_interval_seconds: int | None = None,
        restart: str | None = None,
        isolation: str | None = None,
        idle_seconds: int | None = None,
        hold: HoldRequest | None = None,
    ) -> Spec:
        """As Client.dry_run."""
        shape = (image, workers, control_plane, worker, readiness, owner)
        times = (ttl_seconds, heartbeat_interval_seconds)
        request = ClusterRequest(*shape, name, labels or {}, *times, restart, isolation, idle_seconds, hold)
        return await self._send(clusters.dry_run(request))

    async def get(self, cluster: str, *, wait: Wait | None = None, timeout_seconds: float = 50.0) -> Cluster:
        """As Client.get."""
        return await self._send(clusters.get(cluster, wait=wait, timeout_seconds=timeout_seconds))

    async def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Sequence[str] = (),
        owner: str | None = None,
        purposes: Sequence[str] = (),
    ) -> tuple[Cluster, ...]:
        """As Client.list."""
        return await self._run(clusters.list_all(labels or {}, phases, owner, purposes))

    async def delete(self, cluster: str) -> Cluster:
        """As Client.delete."""
        return await self._send(clusters.delete(cluster))

    async def change(
        self,
        cluster: str,
        *,
        ttl_seconds: int | Keep | None = KEEP,
        labels: Mapping[str, str] | Keep = KEEP,
        hold: HoldRequest | Keep | None = KEEP,
        idle_seconds: int | Keep | None = KEEP,
    ) -> Cluster:
        """As Client.change."""
        return await self._send(clusters.change(cluster, ClusterChanges(ttl_seconds, labels, hold, idle_seconds)))

    async def extend(self, cluster: str, ttl_seconds: int) -> Cluster:
        """As Client.extend."""
        return await self.change(cluster, ttl_seconds=ttl_seconds)

    async def hold(self, cluster: str, *, seconds: int, reason: str, vms: str | None = None) -> Cluster:
        """As Client.hold."""
        return await self.change(cluster, hold=HoldRequest(seconds=seconds, reason=reason, vms=vms))

    async def release_hold(self, cluster: str) -> Cluster:
        """As Client.release_hold."""
        return await self.change(cluster, hold=None)

    async def heartbeat(self, cluster: str) -> Heartbeat:
        """As Client.heartbeat."""
        return await self._send(clusters.heartbeat(cluster))

    @asynccontextmanager
    async def keep_alive(self, cluster: str) -> AsyncIterator[None]:
        """As Client.keep_alive."""
        identity = (await self.get(cluster)).id
        async with beating_async(lambda: self.heartbeat(identity)):
            yield

    async def diagnostics(self, cluster: str) -> bytes:
        """As Client.diagnostics."""
        return await self._send(clusters.diagnostics(cluster))

    async def wait_ready(self, cluster: str, *, timeout_seconds: float = READY_SECONDS) -> Cluster:
        """As Client.wait_ready."""
        return await self._run(clusters.wait_ready(cluster, timeout_seconds))

    async def wait_deleted(self, cluster: str, *, timeout_seconds: float = DELETED_SECONDS) -> None:
        """As Client.wait_deleted."""
        await self._run(clusters.wait_deleted(cluster, timeout_seconds))

    async def kubeconfig(self, cluster: str) -> str:
        """As Client.kubeconfig."""
        return await self._send(clusters.kubeconfig(cluster))

    async def registry(self, cluster: str) -> Registry:
        """As Client.registry."""
        return await self._send(clusters.registry(cluster))

    async def nodes(self, cluster: str) -> tuple[Node, ...]:
        """As Client.nodes."""
        return await self._send(clusters.nodes(cluster))

    async def ssh(self, cluster: str, node: str = "node01") -> SshAccess:
        """As Client.ssh."""
        return await self._send(clusters.ssh(cluster, node))

    async def console(self, cluster: str, node: str, *, tail_bytes: int = 65536) -> str:
        """As Client.console."""
        return await self._send(clusters.console(cluster, node, tail_bytes))

    async def follow_console(self, cluster: str, node: str, *, tail_bytes: int = 65536) -> AsyncIterator[str]:
        """As Client.follow_console."""
        request = self._http.build_request(**wire.follow_arguments(cluster, node, tail_bytes))
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise wire.api_error(response)
                async for text in response.aiter_text():
                    yield text
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise wire.unreachable(self._http.base_url, error) from error

    async def ports(self, cluster: str) -> tuple[Port, ...]:
        """As Client.ports."""
        return await self._send(clusters.ports(cluster))

    async def evidence(self, cluster: str, name: str) -> str:
        """As Client.evidence."""
        return await self._send(clusters.evidence(cluster, name))

    async def events(self, cluster: str, *, after: int = 0, wait_seconds: float = 0.0) -> Events:
        """As Client.events."""
        return await self._send(clusters.events(cluster, after, wait_seconds))

    async def all_events(self, cluster: str) -> tuple[Event, ...]:
        """As Client.all_events."""
        return await self._run(clusters.all_events(cluster))

    async def follow(self, cluster: str, *, after: int = 0) -> AsyncIterator[Event]:
        """As Client.follow."""
        while True:
            part = await self.events(cluster, after=after, wait_seconds=clusters.HOLD_SECONDS)
            for event in part.events:
                yield event
            after = part.next_after
            if part.phase == "deleted" and not part.events:
                return

    async def version(self) -> Version:
        """As Client.version."""
        return await self._send(clusters.version())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        request = self._http.build_request(**wire.request_arguments(call))
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            raise wire.unreachable(self._http.base_url, error) from error
        return wire.read_answer(call, response)

    async def _run(self, flow: Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                try:
                    result = await self._send(call)
                except ApiError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
