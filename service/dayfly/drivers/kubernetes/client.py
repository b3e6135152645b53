"""KubeApi over HTTP, for Kubernetes 1.20 and newer.

Not here: how a pod is run (pod_run.py), and objects of any kind (manifests.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Final

import httpx

from dayfly.clock import Clock, SystemClock
from dayfly.concurrency import in_parallel
from dayfly.drivers.bounds import MalformedAnswer, parse_json
from dayfly.drivers.interfaces import ConfigMap, KubeAccess, KubeNode, KubePod, Manifest, OnLate
from dayfly.drivers.kubernetes import objects
from dayfly.drivers.kubernetes.http import KubeHttp, watched
from dayfly.drivers.kubernetes.lateness import told
from dayfly.drivers.kubernetes.manifests import Manifests
from dayfly.drivers.kubernetes.pod_run import PODS, PodRun
from dayfly.drivers.kubernetes.report import report
from dayfly.errors import NodeNotReady, NotUsable

_NODES: Final = "/api/v1/nodes"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_ACCOUNTS: Final = "/api/v1/namespaces/default/serviceaccounts"
_TOKEN_REQUEST: Final = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
_PROBE: Final = "dayfly-probe"
"""The name of a pod that is never made: it is tried only."""
_RETRY_SECONDS: Final = 1.0
_MESSAGE_CHARACTERS: Final = 500


class KubeClient:
    """Calls to clusters' API servers; each call opens its own connection."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    async def healthy(self, access: KubeAccess, *, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
                return (await http.request("GET", "/healthz")).status_code == httpx.codes.OK
        except (TimeoutError, httpx.HTTPError):
            return False

    async def nodes(self, access: KubeAccess, *, timeout: float) -> tuple[KubeNode, ...]:
        async with self._asking(access, timeout) as http:
            nodes, _ = await http.items(_NODES)
            leases, _ = await http.items(_LEASES)
            now = http.now()
        ages = {lease["metadata"]["name"]: objects.renewal_age(lease, now) for lease in leases}
        return tuple(objects.node(item, now, ages.get(item["metadata"]["name"])) for item in nodes)

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        async with self._asking(access, timeout) as http:
            pods, _ = await http.items("/api/v1/pods")
        return tuple(map(objects.pod, pods))

    async def report(self, access: KubeAccess, *, timeout: float) -> Mapping[str, str]:
        return await report(access, self._clock, timeout=timeout)

    async def wait_nodes_ready(
        self,
        access: KubeAccess,
        boot_ids: Mapping[str, str],
        *,
        timeout: float,
        on_change: Callable[[KubeNode], None] | None = None,
    ) -> None:
        seen: dict[str, KubeNode] = {}
        try:
            async with asyncio.timeout(timeout), watched(access, self._clock, _NODES) as changes:
                async for change in changes:
                    if change.name not in boot_ids:
                        continue
                    if change.kind == "gone":
                        seen.pop(change.name, None)
                        continue
                    node = objects.node(change.object)
                    if seen.get(node.name) != node and on_change is not None:
                        on_change(node)
                    seen[node.name] = node
                    if not _not_ready(boot_ids, seen):
                        return
        except TimeoutError as error:
            raise NodeNotReady(
                f"{', '.join(_not_ready(boot_ids, seen))} not Ready within {timeout:g} s",
                evidence={name: _condition(seen.get(name), boot_id) for name, boot_id in boot_ids.items()},
            ) from error

    async def wait_kubelets(
        self, access: KubeAccess, nodes: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        kubelets = {name: partial(self._get, access, f"{_NODES}/{name}/proxy/healthz") for name in nodes}
        if late := await self._late(kubelets, timeout, on_late=on_late):
            raise NodeNotReady(
                f"the kubelets of {', '.join(late)} do not answer the API server within {timeout:g} s", evidence=late
            )

    async def wait_renewed(self, access: KubeAccess, started: Mapping[str, float], *, timeout: float) -> None:
        began, late = self._clock.monotonic(), dict.fromkeys(started, "it has no lease")
        try:
            async with (
                asyncio.timeout(timeout),
                KubeHttp(access, self._clock) as http,
                aclosing(http.watch(_LEASES)) as changes,
            ):
                async for change in changes:
                    if change.kind == "gone":
                        continue
                    name = change.name
                    passed = self._clock.monotonic() - began
                    age = objects.renewal_age(change.object, http.now())
                    lease = KubeNode(name, ready=False, renewal_age=age)
                    if name in late and lease.renewed_within(started[name] + passed):
                        del late[name]
                    elif name in late and age is not None:
                        late[name] = f"it last reported {age - passed:.0f} s before"
                    if not late:
                        return
        except (TimeoutError, MalformedAnswer) as error:
            words = "; ".join(f"{name} started {started[name]:.0f} s before, {said}" for name, said in late.items())
            reason = str(error) or f"not within {timeout:g} s"
            raise NodeNotReady(f"no report since the start ({reason}): {words}", evidence=late) from error

    async def wait_usable(
        self, access: KubeAccess, image: str, *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        attempts = {_PROBE: partial(self._unusable, access, image)}
        if late := await self._late(attempts, timeout, "no answer", on_late=on_late):
            raise NotUsable(f"no pod could be made within {timeout:g} s: {late[_PROBE]}")

    async def _unusable(self, access: KubeAccess, image: str) -> str | None:
        """Why no pod can be made. Raises httpx.HTTPError, ValueError."""
        async with KubeHttp(access, self._clock) as http:
            made = await http.request("POST", f"{_ACCOUNTS}/default/token", body=_TOKEN_REQUEST)
            if not made.is_success:
                return f"the service account gets no token: {made.text[:_MESSAGE_CHARACTERS]}"
            pod = objects.pod_manifest(_PROBE, image, ["true"], token=True)
            tried = await http.request("POST", PODS, params={"dryRun": "All"}, body=pod)
        if (refusal := objects.refusal(tried)) is not None:
            return f"a pod is refused: {refusal[:_MESSAGE_CHARACTERS]}"
        async with KubeHttp(access, self._clock, token=objects.token(made.content)) as http:
            answer = await http.request("GET", PODS, params={"limit": "1"})
        # 403: the API server authenticated the caller.
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.TOO_MANY_REQUESTS} or answer.is_server_error:
            return f"a service account's token is refused: {answer.text[:_MESSAGE_CHARACTERS]}"
        return None

    async def wait_paths(
        self, access: KubeAccess, paths: Collection[str], *, timeout: float, on_late: OnLate | None = None
    ) -> None:
        attempts = {path: partial(self._not_ready, access, path) for path in paths}
        if late := await self._late(attempts, timeout, on_late=on_late):
            raise NotUsable(f"{', '.join(late)} not ready within {timeout:g} s", evidence=late)

    async def check_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
                answer = await http.request("GET", objects.config_map_path(wanted))
        except (TimeoutError, httpx.HTTPError) as error:
            raise NotUsable(f"the ConfigMap {wanted.name} cannot be read: {error or 'no answer'}") from error
        if not answer.is_success or objects.data_of(answer.content) != wanted.data:
            raise NotUsable(f"the ConfigMap {wanted.name} is not as wanted")

    async def put_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        metadata = {"namespace": wanted.namespace, "name": wanted.name}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(wanted.data)}

        async def refused() -> str | None:
            async with KubeHttp(access, self._clock) as http:
                answer = await http.apply(objects.config_map_path(wanted), manifest)
            return None if answer.is_success else answer.text[:_MESSAGE_CHARACTERS]

        if late := await self._late({wanted.name: refused}, timeout, "no answer"):
            problem = late[wanted.name]
            raise NotUsable(f"the ConfigMap {wanted.name} was not accepted within {timeout:g} s: {problem}")

    async def labels(
        self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float
    ) -> tuple[Mapping[str, str] | None, ...]:
        return await Manifests(access, self._clock).labels(objects, timeout)

    async def apply(self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float) -> None:
        await Manifests(access, self._clock).apply(objects, timeout)

    async def delete(
        self,
        access: KubeAccess,
        objects: Sequence[Manifest],
        *,
        label: tuple[str, str],
        timeout: float,
        on_late: OnLate | None = None,
    ) -> None:
        await Manifests(access, self._clock).delete(objects, label, timeout, on_late)

    async def wait_service_account(self, access: KubeAccess, *, timeout: float, on_late: OnLate | None = None) -> None:
        try:
            async with (
                asyncio.timeout(timeout),
                told(self._clock, on_late, lambda: "the service account default/default does not exist"),
                watched(access, self._clock, _ACCOUNTS, "default") as changes,
            ):
                async for change in changes:
                    if change.kind == "present":
                        return
        except TimeoutError as error:
            raise NotUsable(
                f"no service account default/default within {timeout:g} s: the controller manager does not work"
            ) from error

    async def run_pod(
        self,
        access: KubeAccess,
        name: str,
        *,
        image: str,
        argv: Sequence[str],
        timeout: float,
        on_change: Callable[[KubePod], None] | None = None,
    ) -> None:
        run = PodRun(access, self._clock, objects.pod_manifest(name, image, argv), on_change)
        await run.to_its_end(timeout)

    async def _get(self, access: KubeAccess, path: str) -> str | None:
        """The answer to a GET of `path`; None: a success. Raises httpx.HTTPError."""
        async with KubeHttp(access, self._clock) as http:
            answer = await http.request("GET", path)
        return None if answer.is_success else answer.text[:_MESSAGE_CHARACTERS]

    async def _not_ready(self, access: KubeAccess, path: str) -> str | None:
        """Why a GET of `path` fails, or shows a workload that is not available. Raises httpx.HTTPError, ValueError."""
        async with KubeHttp(access, self._clock) as http:
            answer = await http.request("GET", path)
        if not answer.is_success:
            return answer.text[:_MESSAGE_CHARACTERS]
        return objects.why_unavailable(parse_json(answer.content)) if objects.is_workload(path) else None

    async def _late(
        self,
        attempts: Mapping[str, Callable[[], Awaitable[str | None]]],
        timeout: float,
        first: str = "not asked yet",
        *,
        on_late: OnLate | None = None,
    ) -> Mapping[str, str]:
        """Repeat each of `attempts` until it returns None; the last problem of each that did not within `timeout`."""
        late = dict.fromkeys(attempts, first)

        async def repeat(name: str, attempt: Callable[[], Awaitable[str | None]]) -> None:
            while True:
                try:
                    if (problem := await attempt()) is None:
                        del late[name]
                        return
                    late[name] = problem
                except (httpx.HTTPError, ValueError) as error:
                    late[name] = str(error) or type(error).__name__
                await self._clock.sleep(_RETRY_SECONDS)

        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), told(self._clock, on_late, lambda: _one_of(late)):
                await in_parallel(repeat(name, attempt) for name, attempt in attempts.items())
        return late

    @asynccontextmanager
    async def _asking(self, access: KubeAccess, timeout: float) -> AsyncIterator[KubeHttp]:
        """Raises NodeNotReady where the API server does not answer, or not in the expected form."""
        try:
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
                yield http
        except (TimeoutError, httpx.HTTPError, ValueError) as error:
            reason = str(error) or f"no answer within {timeout:g} s"
            raise NodeNotReady(f"the API server at {access.endpoint} does not answer: {reason}") from error


def _one_of(late: Mapping[str, str]) -> str:
    """The first that is late, with its reason, and how many there are beside it; nothing if none is."""
    if not late:
        return ""
    name, problem = next(iter(late.items()))
    others = f", and {len(late) - 1} more" if len(late) > 1 else ""
    return f"{name} is not ready{others}: {problem}"


def _not_ready(boot_ids: Mapping[str, str], seen: Mapping[str, KubeNode]) -> list[str]:
    ready = {name for name, node in seen.items() if node.ready and node.boot_id == boot_ids[name]}
    return [name for name in boot_ids if name not in ready]


def _condition(node: KubeNode | None, boot_id: str) -> str:
    if node is None:
        return "not registered"
    return node.reason if node.boot_id == boot_id else f"no report since its boot; before: {node.reason}"
