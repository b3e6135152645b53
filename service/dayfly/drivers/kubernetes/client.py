"""KubeApi over HTTP, for Kubernetes 1.20 and newer.

Not here: how a pod is run (pod_run.py), and objects of any kind (manifests.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

import httpx

from dayfly.clock import Clock, SystemClock
from dayfly.drivers.bounds import MalformedAnswer
from dayfly.drivers.interfaces import ConfigMap, KubeAccess, KubeNode, KubePod, Manifest
from dayfly.drivers.kubernetes import objects
from dayfly.drivers.kubernetes.http import KubeHttp, watched
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
        with _no_answer(access, timeout):
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
                nodes, _ = await http.items(_NODES)
                leases, _ = await http.items(_LEASES)
                now = http.now()
        ages = {lease["metadata"]["name"]: objects.renewal_age(lease, now) for lease in leases}
        return tuple(objects.node(item, now, ages.get(item["metadata"]["name"])) for item in nodes)

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        with _no_answer(access, timeout):
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
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

    async def wait_kubelets(self, access: KubeAccess, nodes: Collection[str], *, timeout: float) -> None:
        last = dict.fromkeys(nodes, "not asked yet")
        try:
            async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
                for name in nodes:
                    group.create_task(self._wait_path(access, f"{_NODES}/{name}/proxy/healthz", last, name))
        except TimeoutError as error:
            raise NodeNotReady(
                f"the kubelets of {', '.join(last)} do not answer the API server within {timeout:g} s", evidence=last
            ) from error

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

    async def wait_usable(self, access: KubeAccess, image: str, *, timeout: float) -> None:
        problem = "no answer"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        if (found := await self._unusable(access, image)) is None:
                            return
                        problem = found
                    except (httpx.HTTPError, ValueError) as error:
                        problem = str(error) or type(error).__name__
                    await self._clock.sleep(_RETRY_SECONDS)
        except TimeoutError as error:
            raise NotUsable(f"no pod could be made within {timeout:g} s: {problem}") from error

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

    async def wait_paths(self, access: KubeAccess, paths: Collection[str], *, timeout: float) -> None:
        last = dict.fromkeys(paths, "not asked yet")
        try:
            async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
                for path in paths:
                    group.create_task(self._wait_path(access, path, last, path))
        except TimeoutError as error:
            raise NotUsable(f"{', '.join(last)} not ready within {timeout:g} s", evidence=last) from error

    async def check_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
                answer = await http.request("GET", objects.config_map_path(wanted))
        except (TimeoutError, httpx.HTTPError) as error:
            raise NotUsable(f"the ConfigMap {wanted.name} cannot be read: {error or 'no answer'}") from error
        if not answer.is_success or objects.data_of(answer.content) != wanted.data:
            raise NotUsable(f"the ConfigMap {wanted.name} is not as wanted")

    async def put_config_map(self, access: KubeAccess, wanted: ConfigMap, *, timeout: float) -> None:
        problem = "no answer"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        async with KubeHttp(access, self._clock) as http:
                            answer = await http.apply(
                                objects.config_map_path(wanted), objects.config_map_manifest(wanted)
                            )
                        if answer.is_success:
                            return
                        problem = answer.text[:_MESSAGE_CHARACTERS]
                    except httpx.HTTPError as error:
                        problem = str(error) or type(error).__name__
                    await self._clock.sleep(_RETRY_SECONDS)
        except TimeoutError as error:
            raise NotUsable(f"the ConfigMap {wanted.name} was not accepted within {timeout:g} s: {problem}") from error

    async def labels(
        self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float
    ) -> tuple[Mapping[str, str] | None, ...]:
        return await Manifests(access, self._clock).labels(objects, timeout)

    async def apply(self, access: KubeAccess, objects: Sequence[Manifest], *, timeout: float) -> None:
        await Manifests(access, self._clock).apply(objects, timeout)

    async def delete(
        self, access: KubeAccess, objects: Sequence[Manifest], *, label: tuple[str, str], timeout: float
    ) -> None:
        await Manifests(access, self._clock).delete(objects, label, timeout)

    async def wait_service_account(self, access: KubeAccess, *, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout), watched(access, self._clock, _ACCOUNTS, "default") as changes:
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

    async def _wait_path(self, access: KubeAccess, path: str, last: dict[str, str], key: str) -> None:
        """Wait until a GET of `path` succeeds, then delete `key` from `last`; until then, it has the last answer."""
        while True:
            try:
                async with KubeHttp(access, self._clock) as http:
                    answer = await http.request("GET", path)
                if answer.is_success:
                    del last[key]
                    return
                last[key] = answer.text[:_MESSAGE_CHARACTERS]
            except httpx.HTTPError as error:
                last[key] = str(error) or type(error).__name__
            await self._clock.sleep(_RETRY_SECONDS)


@contextmanager
def _no_answer(access: KubeAccess, timeout: float) -> Iterator[None]:
    """Raises NodeNotReady where the API server does not answer, or not in the expected form."""
    try:
        yield
    except (TimeoutError, httpx.HTTPError, ValueError) as error:
        reason = str(error) or f"no answer within {timeout:g} s"
        raise NodeNotReady(f"the API server at {access.endpoint} does not answer: {reason}") from error


def _not_ready(boot_ids: Mapping[str, str], seen: Mapping[str, KubeNode]) -> list[str]:
    return [name for name, boot_id in boot_ids.items() if not _is_ready(seen.get(name), boot_id)]


def _is_ready(node: KubeNode | None, boot_id: str) -> bool:
    return node is not None and node.ready and node.boot_id == boot_id


def _condition(node: KubeNode | None, boot_id: str) -> str:
    if node is None:
        return "not registered"
    return node.reason if node.boot_id == boot_id else f"no report since its boot; before: {node.reason}"
