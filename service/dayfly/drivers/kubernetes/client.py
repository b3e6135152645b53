"""KubeApi over HTTP, for Kubernetes 1.20 and newer: nodes, pods, and the smoke test's pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import httpx

from dayfly.clock import Clock, SystemClock
from dayfly.drivers.interfaces import KubeAccess, KubeNode, KubePod
from dayfly.drivers.kubernetes.http import Change, KubeHttp, Object
from dayfly.errors import NodeNotReady, NotUsable

_NODES: Final = "/api/v1/nodes"
_PODS: Final = "/api/v1/namespaces/default/pods"
_RETRY_SECONDS: Final = 1.0
_MESSAGE_CHARACTERS: Final = 500
_DELETE_SECONDS: Final = 60.0
_NOT_YET: Final = frozenset({403, 404, 429, 500, 502, 503, 504})
"""Answers of a control plane that is still starting, to the creation of a pod (403: no service account yet)."""

_OTHER_FORM: Final = (AttributeError, KeyError, TypeError)


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
        return tuple(map(_node, await self._list(access, _NODES, timeout)))

    async def pods(self, access: KubeAccess, *, timeout: float) -> tuple[KubePod, ...]:
        return tuple(map(_pod, await self._list(access, "/api/v1/pods", timeout)))

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
            async with asyncio.timeout(timeout), self._watch(access, _NODES) as changes:
                async for change in changes:
                    node = _node(change.object)
                    if change.kind == "gone":
                        seen.pop(node.name, None)
                        continue
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
                    group.create_task(self._wait_kubelet(access, name, last))
        except TimeoutError as error:
            raise NodeNotReady(
                f"the kubelets of {', '.join(last)} do not answer the API server within {timeout:g} s", evidence=last
            ) from error

    async def wait_service_account(self, access: KubeAccess, *, timeout: float) -> None:
        path, only = "/api/v1/namespaces/default/serviceaccounts", "metadata.name=default"
        try:
            async with asyncio.timeout(timeout), self._watch(access, path, only) as changes:
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
        last = KubePod(name, "default", "not created", None)

        def note(pod: KubePod) -> None:
            nonlocal last
            if pod != last and on_change is not None:
                on_change(pod)
            last = pod

        try:
            async with asyncio.timeout(timeout):
                await self._create_pod(access, _pod_manifest(name, image, argv), note)
                await self._watch_to_end(access, name, note)
        except TimeoutError as error:
            raise NotUsable(
                f"pod {name} did not end within {timeout:g} s: {last.phase}", evidence={"pod": last.reason}
            ) from error
        except NotUsable:
            # A retry must not adopt the pod that failed.
            await self._delete_pod(access, name)
            raise
        await self._delete_pod(access, name)

    async def _wait_kubelet(self, access: KubeAccess, node: str, last: dict[str, str]) -> None:
        """Wait until the kubelet of `node` answers, then delete `node` from `last`."""
        while True:
            try:
                async with KubeHttp(access, self._clock) as http:
                    answer = await http.request("GET", f"{_NODES}/{node}/proxy/healthz")
                if answer.is_success:
                    del last[node]
                    return
                last[node] = answer.text[:_MESSAGE_CHARACTERS]
            except httpx.HTTPError as error:
                last[node] = str(error) or type(error).__name__
            await self._clock.sleep(_RETRY_SECONDS)

    async def _create_pod(self, access: KubeAccess, manifest: Object, note: Callable[[KubePod], None]) -> None:
        name = manifest["metadata"]["name"]
        while True:
            try:
                async with KubeHttp(access, self._clock) as http:
                    answer = await http.request("POST", _PODS, body=manifest)
                if answer.is_success or answer.status_code == httpx.codes.CONFLICT:
                    return
                reason = str(answer.json().get("message", answer.text))
                if answer.status_code not in _NOT_YET:
                    raise NotUsable(f"pod {name} was refused: {reason}")
            except (httpx.HTTPError, ValueError) as error:
                reason = str(error) or type(error).__name__
            note(KubePod(name, "default", "not created", None, reason))
            await self._clock.sleep(_RETRY_SECONDS)

    async def _watch_to_end(self, access: KubeAccess, name: str, note: Callable[[KubePod], None]) -> None:
        async with self._watch(access, _PODS, f"metadata.name={name}") as changes:
            async for change in changes:
                pod = _pod(change.object)
                note(pod)
                if change.kind == "gone":
                    raise NotUsable(f"pod {name} was deleted while it ran", evidence={"pod": pod.reason})
                if pod.phase == "Succeeded":
                    return
                if pod.phase == "Failed":
                    raise NotUsable(f"pod {name} failed: {pod.reason}", evidence={"pod": pod.reason})

    async def _delete_pod(self, access: KubeAccess, name: str) -> None:
        now = {"gracePeriodSeconds": "0"}
        try:
            async with asyncio.timeout(_DELETE_SECONDS), KubeHttp(access, self._clock) as http:
                answer = await http.request("DELETE", f"{_PODS}/{name}", params=now)
                if answer.status_code != httpx.codes.NOT_FOUND:
                    answer.raise_for_status()
        except (TimeoutError, httpx.HTTPError) as error:
            raise NotUsable(f"pod {name} could not be deleted: {error}") from error

    async def _list(self, access: KubeAccess, path: str, timeout: float) -> list[Object]:
        try:
            async with asyncio.timeout(timeout), KubeHttp(access, self._clock) as http:
                return (await http.items(path))[0]
        except (TimeoutError, httpx.HTTPError, ValueError) as error:
            reason = str(error) or f"no answer within {timeout:g} s"
            raise NodeNotReady(f"the API server at {access.endpoint} does not answer: {reason}") from error

    @asynccontextmanager
    async def _watch(
        self, access: KubeAccess, path: str, only: str | None = None
    ) -> AsyncIterator[AsyncIterator[Change]]:
        params = {"fieldSelector": only} if only else {}
        async with KubeHttp(access, self._clock) as http, aclosing(http.watch(path, params)) as changes:
            yield changes


def _not_ready(boot_ids: Mapping[str, str], seen: Mapping[str, KubeNode]) -> list[str]:
    return [name for name, boot_id in boot_ids.items() if not _is_ready(seen.get(name), boot_id)]


def _is_ready(node: KubeNode | None, boot_id: str) -> bool:
    return node is not None and node.ready and node.boot_id == boot_id


def _condition(node: KubeNode | None, boot_id: str) -> str:
    if node is None:
        return "not registered"
    return node.reason if node.boot_id == boot_id else f"no report since its boot; before: {node.reason}"


def _node(item: Object) -> KubeNode:
    try:
        return _read_node(item)
    except _OTHER_FORM as error:
        raise NodeNotReady("the API server describes a node in an unknown form") from error


def _pod(item: Object) -> KubePod:
    try:
        return _read_pod(item)
    except _OTHER_FORM as error:
        raise NotUsable("the API server describes a pod in an unknown form") from error


def _read_node(item: Object) -> KubeNode:
    status: Object = item.get("status", {})
    conditions = status.get("conditions") or []
    boot_id = str(status.get("nodeInfo", {}).get("bootID", ""))
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None:
        return KubeNode(item["metadata"]["name"], ready=False, reason="no status yet", boot_id=boot_id)
    reason = f"{ready.get('reason', '')}: {ready.get('message', '')}".strip(": ")
    return KubeNode(item["metadata"]["name"], ready=ready["status"] == "True", reason=reason, boot_id=boot_id)


def _read_pod(item: Object) -> KubePod:
    status = item.get("status", {})
    return KubePod(
        name=item["metadata"]["name"],
        namespace=item["metadata"]["namespace"],
        phase=status.get("phase", "Unknown"),
        node=item["spec"].get("nodeName"),
        reason=_pod_reason(status),
    )


def _pod_reason(status: Object) -> str:
    """Why a pod does not run, or how it ended: from its containers, then from its conditions."""
    for container in status.get("containerStatuses") or ():
        state: dict[str, Any] = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if detail := state.get(kind):
                code = f"exit code {detail['exitCode']}" if "exitCode" in detail else ""
                return ": ".join(part for part in (detail.get("reason"), code, detail.get("message")) if part)
    for condition in status.get("conditions") or ():
        if condition["status"] == "False" and condition.get("message"):
            return f"{condition.get('reason', condition['type'])}: {condition['message']}"
    return str(status.get("message", ""))


def _pod_manifest(name: str, image: str, argv: Sequence[str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "dayfly"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            # The pod proves that nodes run pods; the taints of control planes do not matter.
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": list(argv)}],
        },
    }
