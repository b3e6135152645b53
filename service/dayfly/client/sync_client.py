"""The client for synchronous code. Not here: what is sent, and how responses are read (operations/)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import httpx

from dayfly.client import transport as wire
from dayfly.client.errors import ApiError
from dayfly.client.heartbeat import beating
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
from dayfly.client.sync_snapshots import SnapshotOperations

T = TypeVar("T")


class Client(SnapshotOperations):
    """Dayfly from ordinary code. Every method raises ApiError and Unreachable.

    `url` and `token` default to DAYFLY_URL and DAYFLY_TOKEN, then http://127.0.0.1:8700 and none. `cluster` is always
    an id or a name. `transport` is for tests.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(**wire.configuration(url, token), transport=transport)

    def create(
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
        """Ask for a cluster; it is being made when this returns. Sizes left out come from the image."""
        shape = (image, workers, control_plane, worker, readiness, owner)
        times = (ttl_seconds, heartbeat_interval_seconds)
        request = ClusterRequest(*shape, name, labels or {}, *times, restart, isolation, idle_seconds, hold)
        return self._send(clusters.create(request, idempotency_key))

    def dry_run(
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
        """What create() would make, checked in every way, and not made."""
        shape = (image, workers, control_plane, worker, readiness, owner)
        times = (ttl_seconds, heartbeat_interval_seconds)
        request = ClusterRequest(*shape, name, labels or {}, *times, restart, isolation, idle_seconds, hold)
        return self._send(clusters.dry_run(request))

    def get(self, cluster: str, *, wait: Wait | None = None, timeout_seconds: float = 50.0) -> Cluster:
        """One cluster; with `wait`, as soon as it is so or the time is over."""
        return self._send(clusters.get(cluster, wait=wait, timeout_seconds=timeout_seconds))

    def list(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        phases: Sequence[str] = (),
        owner: str | None = None,
        purposes: Sequence[str] = (),
    ) -> tuple[Cluster, ...]:
        """All of `owner` with all of `labels` in one of `phases` (none given: all but deleted ones), newest first.

        `purposes`: `cluster` (what is listed where none is given), `template`, `verification`, `pool_member`.
        """
        return self._run(clusters.list_all(labels or {}, phases, owner, purposes))

    def delete(self, cluster: str) -> Cluster:
        """Ask for its deletion; it is being deleted when this returns."""
        return self._send(clusters.delete(cluster))

    def change(
        self,
        cluster: str,
        *,
        ttl_seconds: int | Keep | None = KEEP,
        labels: Mapping[str, str] | Keep = KEEP,
        hold: HoldRequest | Keep | None = KEEP,
        idle_seconds: int | Keep | None = KEEP,
    ) -> Cluster:
        """Change what is given. `labels` replace all; None takes away time to live, hold, or hibernation when idle."""
        return self._send(clusters.change(cluster, ClusterChanges(ttl_seconds, labels, hold, idle_seconds)))

    def extend(self, cluster: str, ttl_seconds: int) -> Cluster:
        """Set the whole time to live, counted from when the cluster was first ready. Doing it twice extends once."""
        return self.change(cluster, ttl_seconds=ttl_seconds)

    def hold(self, cluster: str, *, seconds: int, reason: str, vms: str | None = None) -> Cluster:
        """Keep the cluster for so long from now should it fail or expire, its machines `running` (or `stopped`)."""
        return self.change(cluster, hold=HoldRequest(seconds=seconds, reason=reason, vms=vms))

    def release_hold(self, cluster: str) -> Cluster:
        """Hold it no longer: if its time is over, or it failed, it is cleared at once."""
        return self.change(cluster, hold=None)

    def heartbeat(self, cluster: str) -> Heartbeat:
        """Say that the cluster is still needed; where it was made to expect that."""
        return self._send(clusters.heartbeat(cluster))

    @contextmanager
    def keep_alive(self, cluster: str) -> Iterator[None]:
        """Send heartbeats in the background while the block runs, or until the cluster is deleted.

        Heartbeats that fail because the server is away for a moment are made up for by the next one.
        """
        identity = self.get(cluster).id
        with beating(lambda: self.heartbeat(identity)):
            yield

    def diagnostics(self, cluster: str) -> bytes:
        """Everything about the cluster as a gzip'ed tarball; also of a deleted one, by its id."""
        return self._send(clusters.diagnostics(cluster))

    def wait_ready(self, cluster: str, *, timeout_seconds: float = READY_SECONDS) -> Cluster:
        """Until it is ready. Raises ClusterFailed, WaitTimeout."""
        return self._run(clusters.wait_ready(cluster, timeout_seconds))

    def wait_deleted(self, cluster: str, *, timeout_seconds: float = DELETED_SECONDS) -> None:
        """Until nothing is left of it, or nothing was. Raises WaitTimeout."""
        self._run(clusters.wait_deleted(cluster, timeout_seconds))

    def kubeconfig(self, cluster: str) -> str:
        """An administrator's kubeconfig, as YAML."""
        return self._send(clusters.kubeconfig(cluster))

    def registry(self, cluster: str) -> Registry:
        """Where to push images to, and where the cluster pulls them from."""
        return self._send(clusters.registry(cluster))

    def nodes(self, cluster: str) -> tuple[Node, ...]:
        """The nodes, the control plane first."""
        return self._send(clusters.nodes(cluster))

    def ssh(self, cluster: str, node: str = "node01") -> SshAccess:
        """How to get into a node."""
        return self._send(clusters.ssh(cluster, node))

    def console(self, cluster: str, node: str, *, tail_bytes: int = 65536) -> str:
        """The end of what a node's serial console printed."""
        return self._send(clusters.console(cluster, node, tail_bytes))

    def follow_console(self, cluster: str, node: str, *, tail_bytes: int = 65536) -> Iterator[str]:
        """The same, and what it prints from now on, until the node ends."""
        request = self._http.build_request(**wire.follow_arguments(cluster, node, tail_bytes))
        try:
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise wire.api_error(response)
                yield from response.iter_text()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise wire.unreachable(self._http.base_url, error) from error

    def ports(self, cluster: str) -> tuple[Port, ...]:
        """The published ports."""
        return self._send(clusters.ports(cluster))

    def evidence(self, cluster: str, name: str) -> str:
        """One text of a failed cluster's evidence."""
        return self._send(clusters.evidence(cluster, name))

    def events(self, cluster: str, *, after: int = 0, wait_seconds: float = 0.0) -> Events:
        """The next events after id `after`; waits for one when there is none."""
        return self._send(clusters.events(cluster, after, wait_seconds))

    def all_events(self, cluster: str) -> tuple[Event, ...]:
        """All events so far, oldest first."""
        return self._run(clusters.all_events(cluster))

    def follow(self, cluster: str, *, after: int = 0) -> Iterator[Event]:
        """Events as they come, until the cluster is deleted."""
        while True:
            part = self.events(cluster, after=after, wait_seconds=clusters.HOLD_SECONDS)
            yield from part.events
            after = part.next_after
            if part.phase == "deleted" and not part.events:
                return

    def version(self) -> Version:
        """The server's release."""
        return self._send(clusters.version())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        request = self._http.build_request(**wire.request_arguments(call))
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            raise wire.unreachable(self._http.base_url, error) from error
        return wire.read_answer(call, response)

    def _run(self, flow: Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                try:
                    result = self._send(call)
                except ApiError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
