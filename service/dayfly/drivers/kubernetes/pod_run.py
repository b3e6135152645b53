"""Runs a pod to its end, and deletes it: the pod of the smoke test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import httpx

from dayfly.clock import Clock
from dayfly.drivers.bounds import parse_json
from dayfly.drivers.interfaces import KubeAccess, KubePod
from dayfly.drivers.kubernetes import objects
from dayfly.drivers.kubernetes.fields import clean
from dayfly.drivers.kubernetes.http import KubeHttp, Object, watched
from dayfly.errors import NotUsable

PODS: Final = "/api/v1/namespaces/default/pods"
_RETRY_SECONDS: Final = 1.0
_DELETE_SECONDS: Final = 60.0
_NOT_YET: Final = frozenset({403, 404, 429, 500, 502, 503, 504})
"""Answers of a control plane that is still starting, to the creation of a pod (403: no service account yet)."""


class PodRun:
    """One pod, which may exist already. `on_change` is called with each new state."""

    def __init__(
        self, access: KubeAccess, clock: Clock, manifest: Object, on_change: Callable[[KubePod], None] | None
    ) -> None:
        self._access, self._clock, self._manifest, self._on_change = access, clock, manifest, on_change
        self._name: str = manifest["metadata"]["name"]
        self._last = KubePod(self._name, "default", "not created", None)

    async def to_its_end(self, timeout: float) -> None:
        """Raises NotUsable where the pod does not succeed within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._create()
                await self._watch_to_end()
        except TimeoutError as error:
            raise NotUsable(
                f"pod {self._name} did not end within {timeout:g} s: {self._last.phase}",
                evidence={"pod": self._last.reason},
            ) from error
        except NotUsable:
            # A retry must not adopt the pod that failed.
            await self._delete()
            raise
        await self._delete()

    def _note(self, pod: KubePod) -> None:
        if pod != self._last and self._on_change is not None:
            self._on_change(pod)
        self._last = pod

    async def _create(self) -> None:
        while True:
            try:
                async with KubeHttp(self._access, self._clock) as http:
                    answer = await http.request("POST", PODS, body=self._manifest)
                if answer.is_success or answer.status_code == httpx.codes.CONFLICT:
                    return
                said = parse_json(answer.content)
                message = said.get("message", answer.text) if isinstance(said, dict) else answer.text
                reason = clean(str(message))
                if answer.status_code not in _NOT_YET:
                    raise NotUsable(f"pod {self._name} was refused: {reason}")
            except (httpx.HTTPError, ValueError) as error:
                reason = str(error) or type(error).__name__
            self._note(KubePod(self._name, "default", "not created", None, reason))
            await self._clock.sleep(_RETRY_SECONDS)

    async def _watch_to_end(self) -> None:
        async with watched(self._access, self._clock, PODS, self._name) as changes:
            async for change in changes:
                pod = objects.pod(change.object)
                self._note(pod)
                if change.kind == "gone":
                    raise NotUsable(f"pod {pod.name} was deleted while it ran", evidence={"pod": pod.reason})
                if pod.phase == "Succeeded":
                    return
                if pod.phase == "Failed":
                    raise NotUsable(f"pod {pod.name} failed: {pod.reason}", evidence={"pod": pod.reason})

    async def _delete(self) -> None:
        now = {"gracePeriodSeconds": "0"}
        try:
            async with asyncio.timeout(_DELETE_SECONDS), KubeHttp(self._access, self._clock) as http:
                answer = await http.request("DELETE", f"{PODS}/{self._name}", params=now)
                if answer.status_code != httpx.codes.NOT_FOUND:
                    answer.raise_for_status()
        except (TimeoutError, httpx.HTTPError) as error:
            raise NotUsable(f"pod {self._name} could not be deleted: {error}") from error
