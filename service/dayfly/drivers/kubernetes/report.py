"""Reports what a cluster's API server says of nodes, pods and events, with logs of containers that failed.

Reads only, and never Secrets. Each part is bounded, and a part that cannot be read is replaced by the reason. Not
here: how objects are described (describe.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from dayfly.clock import Clock
from dayfly.drivers.bounds import MalformedAnswer, parse_json
from dayfly.drivers.interfaces import KubeAccess
from dayfly.drivers.kubernetes import describe
from dayfly.drivers.kubernetes.describe import Container, Event, Pod
from dayfly.drivers.kubernetes.fields import clean, head, tail
from dayfly.drivers.kubernetes.http import KubeHttp, Object

TEXT_BYTES: Final = 48 * 1024
"""Of each text."""
_PAGE_BYTES: Final = 2 << 20
"""Of one page of a list: parsed, JSON takes many times its length."""
_PAGE: Final = 100
_PAGES: Final = 10
_LOG_BYTES: Final = 1 << 20
_LOG_LINES: Final = 200
_LOGS: Final = 20
_NOT_READY: Final = 20
"""Pods that are described."""
_REQUEST_SECONDS: Final = 10.0
_NAME_CHARACTERS: Final = 60
_UNAVAILABLE: Final = (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError)
_NODES: Final = "/api/v1/nodes"
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

T = TypeVar("T")


async def report(access: KubeAccess, clock: Clock, *, timeout: float) -> Mapping[str, str]:
    """Short name → text. Whatever the API server does, the texts that were read by then say what is missing."""
    texts: dict[str, str] = {}
    try:
        async with asyncio.timeout(timeout), KubeHttp(access, clock) as http:
            await _Report(http, texts).collect()
    except TimeoutError:
        texts["incomplete"] = f"the API server took longer than {timeout:g} s: what else there is was not read\n"
    return texts


class _Report:
    def __init__(self, http: KubeHttp, texts: dict[str, str]) -> None:
        self._http, self._texts = http, texts

    async def collect(self) -> None:
        # One after the other: each parsed list takes memory.
        await self._nodes()
        events = await self._part("events", self._events())
        pods = await self._part("pods", self._pods()) or []
        failing = [pod for pod in pods if not pod.ready]
        for pod in failing[:_NOT_READY]:
            lines = describe.describe_pod(pod, events)
            self._put(f"not-ready/{_safe(pod.namespace)}_{_safe(pod.name)}", "", head(lines, TEXT_BYTES))
        if len(failing) > _NOT_READY:
            more = len(failing) - _NOT_READY
            self._texts["not-ready/left-out"] = f"{more} more pods are not Ready: the table of pods names them\n"
        await self._logs(pods)

    async def _part(self, name: str, reading: Coroutine[Any, Any, T]) -> T | None:
        """The result of `reading`; None, and the reason as the text `name`, where it fails."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await reading
        except _UNAVAILABLE as error:
            self._texts[name] = f"not available: {_reason(error)}\n"
            return None

    async def _nodes(self) -> None:
        nodes = await self._part("nodes", self._all(_NODES))
        renewals = await self._part("leases", self._renewals())
        if nodes is None:
            return
        lines: list[str] = []
        for node in nodes:
            renewed = "not available" if renewals is None else renewals.get(describe.name_of(node), "never")
            lines += [*describe.describe_node(node, renewed), ""]
        self._texts["nodes"] = head(lines or ["no node is registered"], TEXT_BYTES)

    async def _all(self, path: str) -> list[Object]:
        return [item async for item in self._items(path)]

    async def _renewals(self) -> Mapping[str, str]:
        return {describe.name_of(item): describe.renewal_of(item) async for item in self._items(_LEASES)}

    async def _events(self) -> list[Event]:
        events = [describe.read_event(item) async for item in self._items("/api/v1/events")]
        events.sort(key=lambda event: event.time)
        self._texts["events"] = tail([event.line for event in events] or ["no events"], TEXT_BYTES)
        return events

    async def _pods(self) -> list[Pod]:
        """Pods that are not Ready first."""
        pods = [describe.read_pod(item) async for item in self._items("/api/v1/pods")]
        pods.sort(key=lambda pod: (pod.ready, pod.namespace, pod.name))
        self._texts["pods"] = head(describe.pods_table(pods) if pods else ["no pods"], TEXT_BYTES)
        return pods

    async def _logs(self, pods: Sequence[Pod]) -> None:
        wanted = [(pod, one) for pod in pods for one in pod.containers if one.failed or not (one.ready or pod.ready)]
        # A container that never ran has no log: its state says why.
        wanted = [(pod, one) for pod, one in wanted if one.logs]
        for pod, one in wanted[:_LOGS]:
            previous = one.logs == "previous"
            name = f"logs/{_safe(pod.namespace)}_{_safe(pod.name)}_{_safe(one.name)}"
            suffix = ".previous.log" if previous else ".log"
            try:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    text = await self._log(pod, one, previous=previous)
            except _UNAVAILABLE as error:
                text = f"not available: {_reason(error)}\n"
            self._put(name, suffix, text)
        if len(wanted) > _LOGS:
            self._texts["logs/left-out"] = f"the logs of {len(wanted) - _LOGS} more containers were not read\n"

    async def _log(self, pod: Pod, one: Container, *, previous: bool) -> str:
        if not all(map(_is_name, (pod.namespace, pod.name, one.name))):
            raise MalformedAnswer("the container has no name that Kubernetes allows")
        path = f"/api/v1/namespaces/{quote(pod.namespace, safe='')}/pods/{quote(pod.name, safe='')}/log"
        params = {"container": one.name, "tailLines": str(_LOG_LINES), "previous": str(previous).lower()}
        answer = await self._http.request("GET", path, params=params, limit=_LOG_BYTES)
        lines = answer.raise_for_status().content.decode(errors="replace").splitlines()
        return tail(lines or ["the log is empty"], TEXT_BYTES)

    async def _items(self, path: str) -> AsyncIterator[Object]:
        """The objects of a list, page by page. Raises httpx.HTTPError, ValueError."""
        params = {"limit": str(_PAGE)}
        for _ in range(_PAGES):
            answer = await self._http.request("GET", path, params=params, limit=_PAGE_BYTES)
            listed = parse_json(answer.raise_for_status().content)
            items = listed.get("items") if isinstance(listed, dict) else None
            if not isinstance(listed, dict) or not isinstance(items, list | None):
                raise MalformedAnswer(f"the answer to GET {path} is no list")
            for item in (items or [])[:_PAGE]:
                if isinstance(item, dict):
                    yield item
            metadata = listed.get("metadata")
            more = metadata.get("continue") if isinstance(metadata, dict) else None
            if not isinstance(more, str) or not more:
                return
            params = {"limit": str(_PAGE), "continue": more}
        said = f"{path}: objects after the first {_PAGE * _PAGES} were not read\n"
        self._texts["left-out"] = self._texts.get("left-out", "") + said

    def _put(self, stem: str, suffix: str, text: str) -> None:
        """Add a text. Names of different objects may become equal by `_safe`."""
        name, number = f"{stem}{suffix}", 2
        while name in self._texts:
            name, number = f"{stem}-{number}{suffix}", number + 1
        self._texts[name] = text


def _safe(name: str) -> str:
    """A part of a file's name: Kubernetes' names have these characters only."""
    return re.sub(r"[^a-z0-9.-]", "-", name)[:_NAME_CHARACTERS]


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) is not None


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the API server answered {error.response.status_code}: {clean(error.response.text)}"
    return clean(str(error)) or f"no answer within {_REQUEST_SECONDS:g} s"
